/// This program's version: in manifests, in `--version` and in `CHANGELOG.md`.
let programVersion = "0.1.0"
