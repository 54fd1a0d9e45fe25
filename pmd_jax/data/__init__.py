"""From the prepared split on disk to normalised batches on the devices."""
