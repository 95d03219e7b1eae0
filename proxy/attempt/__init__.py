"""Step 3: one try at the upstream, on a kept connection where there is one."""
