import Core
import Glibc

/// Directories that hold what is proven for a while, and are gone afterwards.
enum EmptyDirectories {
    /// Harmless where it is there. What it lies in has to be there.
    static func make(_ path: String) throws {
        guard mkdir(path, 0o700) != 0, errno != EEXIST else { return }
        throw problem("make the scratch directory", path)
    }

    /// Removes `path` with the directories below it. Throws where anything else is left there, which stays. Harmless
    /// where it is not there.
    static func remove(_ path: String) throws {
        guard let directory = opendir(path) else {
            if errno == ENOENT { return }
            throw problem("remove the scratch directory", path)
        }
        var inner: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != "..", entry.pointee.d_type == UInt8(DT_DIR) { inner.append("\(path)/\(name)") }
        }
        closedir(directory)
        for directory in inner { try remove(directory) }
        if rmdir(path) != 0, errno != ENOENT { throw problem("remove the scratch directory", path) }
    }

    private static func problem(_ operation: String, _ path: String) -> JobFailure {
        JobFailure(
            .configuration, operation, object: path, cause: String(cString: strerror(errno)),
            hint: "check SCRATCH_DIRECTORY, and that user \(getuid()) may write there")
    }
}
