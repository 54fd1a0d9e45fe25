"""From a prepared split to a batch on the devices, and the geometry of hands that all of it rests on.

* `hand`, `cropping`: joint order, root, scale; the box around a hand and what falls into it.
* `prepared`, `frames`, `selfcheck`: the prepared example, made from an original frame, and whether it makes sense.
  These are the imports for a data set of your own (docs/your_data.md). `hand_segment`: where a hand is in a depth map.
* `rgbd_form`: the folder form of a depth camera's recordings (docs/your_camera.md).
* `records`, `column_files`: a prepared split as it lies on the disk. `dataset`: the same as columns.
* `recordings`, `labels`, `depth_origin`: what is held out of it, which samples keep their labels, and where the depth
  input counts from without joints. `joined`: pairs of a second data set behind the labelled samples.
* `loader`: the order of samples and the batches. `inputs`, `augment`: what the network sees of a batch; of the
  augmentation, `geometry` and `background` change RGB and depth, `jitter` and `colour` the student's RGB alone,
  `depth_background` and `depth_sensor` depth alone. `ray_frame`: poses in the axes of the crop's ray.
"""
