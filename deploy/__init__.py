"""How the fleet is brought to life: on one machine (local), and its database's shape (migrations)."""
