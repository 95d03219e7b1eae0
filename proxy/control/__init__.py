"""The operator's side, on aiohttp: metrics, health, admin. Never on the path of a call."""
