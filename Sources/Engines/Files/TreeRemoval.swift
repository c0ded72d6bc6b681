import Glibc

/// Removes a tree without ever following a symbolic link or leaving its file system. What is gone already is success.
struct TreeRemoval {
    let name: String
    let directory: OpenFile
    /// For errors.
    let path: String

    func run() throws(FilesError) {
        let text = terminated(name.utf8)
        try naming("remove what is left over", path) { () throws(CallFailure) in
            guard let found = try status(text, in: directory) else { return }
            try remove(text, found, from: directory, device: found.st_dev)
        }
    }

    private func remove(
        _ name: [CChar], _ found: stat, from parent: OpenFile, device: dev_t
    ) throws(CallFailure) {
        guard found.isDirectory else { return try unlink(name, from: parent, 0) }
        guard found.st_dev == device else { throw CallFailure(code: EBUSY) }
        // Without these bits its owner could not empty it; root can in any case.
        if found.st_mode & S_IRWXU != S_IRWXU { fchmodat(parent.number, name, S_IRWXU, 0) }
        let names = try DirectoryNames(name, in: parent)
        while let entry = try names.next() {
            let entry = terminated(entry)
            if let below = try status(entry, in: names.directory) {
                try remove(entry, below, from: names.directory, device: device)
            }
        }
        try unlink(name, from: parent, AT_REMOVEDIR)
    }

    private func unlink(_ name: [CChar], from parent: OpenFile, _ flags: Int32) throws(CallFailure) {
        do {
            try system { unlinkat(parent.number, name, flags) }
        } catch {
            if error.code != ENOENT { throw error }
        }
    }
}
