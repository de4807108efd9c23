"""Where cells run: in processes of this machine."""
