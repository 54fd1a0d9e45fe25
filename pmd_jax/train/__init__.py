"""Training: the job from data to report, the loop, the step, the losses, the teacher and the checkpoints.

Read in this order: `job` (the whole), `splits`, `continuation` and `workdir` (its samples and its folder), `teacher`,
`teacher_outputs` and `teacher_cache` (what the frozen network contributes), `start` (what students begin with),
`pictures` (what is seen of a second data set), `losses`, `optim`, `state`, `step` (pure functions), `compiled_step` and
`packing` (the step on the devices), `loop`, `log`, `clock`, `metric_writer`, `checkpoint`.
"""
