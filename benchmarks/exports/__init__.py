"""How fast and how large exports are, beside their limits and peers."""
