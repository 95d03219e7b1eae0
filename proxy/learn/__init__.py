"""What can the upstream bear? Pure: fed what was seen and how much time passed, it opens no socket and reads no clock."""
