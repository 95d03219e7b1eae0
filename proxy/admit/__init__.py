"""Step 2: may it go now? Token bucket, concurrency limit, queue."""
