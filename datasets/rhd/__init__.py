"""The Rendered Hand Pose Dataset (RHD), read straight from its archive."""
