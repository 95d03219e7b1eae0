"""The settings: what each means, its unit, range, default and why; loading, reloading, JSON Schema."""
