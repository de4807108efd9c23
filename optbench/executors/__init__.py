"""Where cells run: in processes of this machine, or on Ray; and which run does what."""
