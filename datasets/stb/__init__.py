"""The Stereo Hand Pose Tracking Benchmark (STB), read straight from its zips."""
