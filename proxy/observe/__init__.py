"""Step 6: said once per attempt and once per call. Metrics, access log."""
