"""What every command needs before it knows anything of hands: errors and exit codes, files, processes, devices.

* `errors`: exit codes, and every error that a user can put right. `cli`: what the commands share.
* `files`, `paths`, `digest`, `orbax_io`: whole files or none, their checksums, trees of arrays as folders.
* `joining`, `distributed`, `preemption`, `ending`: how several processes start, wait for each other, stop and end
  together; `key_value`: how they talk.
* `packaged`, `launch_files`: where builders, launch files and the demo network lie. `commands`: `pmd-jax` itself.
* `markdown`, `timing`, `listening`: tables, the one loop that takes times, and where a page is served.
* `sharding`, `devices`, `environment`, `cores`: where arrays live, on how many devices, and what machine this is.

Imports nothing else of this package.
"""
