"""The processes of the fleet. None imports another."""
