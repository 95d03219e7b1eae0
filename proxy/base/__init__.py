"""The words everyone shares: reasons, outcomes, clocks, signals, deadlines. Imports nothing of ours."""
