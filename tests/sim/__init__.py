"""The adaptive limit in virtual time: eight pods against the lab's own upstream models."""
