"""What any optimizer has to satisfy before it is compared: state, rates, and which parameters it updates."""
