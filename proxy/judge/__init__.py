"""Step 4: what did that try mean, and again?"""
