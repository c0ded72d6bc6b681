import Core

/// Reads which directories and files a target consists of.
///
/// Environment: `FILES_PATHS`, `FILES_EXCLUDE`, `FILES_ONE_FILE_SYSTEM`, `FILES_ALLOW_EMPTY`. File: `paths`, `exclude`,
/// `oneFileSystem`, `allowEmpty`.
enum FilesSourceReader {
    private static let paths = SourceSetting(variable: "FILES_PATHS", key: "paths", isList: true)
    private static let excludes = SourceSetting(variable: "FILES_EXCLUDE", key: "exclude", isList: true)
    private static let oneFileSystem = SourceSetting(variable: "FILES_ONE_FILE_SYSTEM", key: "oneFileSystem")
    private static let allowEmpty = SourceSetting(variable: "FILES_ALLOW_EMPTY", key: "allowEmpty")

    static let settings = [paths, excludes, oneFileSystem, allowEmpty]

    /// Bytes that one pattern may have, and how many patterns there may be.
    private static let longestPattern = 1024
    private static let mostPatterns = 1000

    static func read(
        _ place: SourcePlace, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> FilesSettings {
        guard let found = try place.paths(paths, &values) else {
            throw ConfigurationError(
                place.name(paths), "it is missing", hint: "set it to the absolute paths of what is to be backed up")
        }
        return FilesSettings(
            paths: found, excludes: try patterns(place, &values),
            oneFileSystem: try place.flag(oneFileSystem, &values),
            allowsEmpty: try place.flag(allowEmpty, &values))
    }

    private static func patterns(
        _ place: SourcePlace, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> [String] {
        guard let found = try place.find(excludes, &values) else { return [] }
        for pattern in found.values {
            let isPlain =
                !pattern.isEmpty && pattern.utf8.count <= longestPattern && !hasControlCharacter(pattern)
                && !pattern.hasSuffix("/") && (pattern.hasPrefix("/") || !pattern.contains("/"))
            guard isPlain else {
                throw ConfigurationError(
                    found.name, "a pattern in it is empty or too long, or has a slash that is not where it may be",
                    hint: "a whole path, like /var/cache/clinic, or a name without a slash, like *.tmp; up to "
                        + "\(longestPattern) bytes each")
            }
        }
        guard found.values.count <= mostPatterns else {
            throw ConfigurationError(
                found.name, "it has more than \(mostPatterns) patterns", hint: "leave out whole directories instead")
        }
        return found.values
    }
}
