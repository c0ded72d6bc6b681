import Core

/// Reads where the encryption keys lie that a target backs up.
///
/// Environment: `KEYS_PATHS`, `KEYS_SCHEDULE`, `KEYS_VERIFY_INTERVAL_HOURS`. File: `paths`, `schedule`,
/// `verifyIntervalHours`.
enum KeysSourceReader {
    private static let paths = SourceSetting(variable: "KEYS_PATHS", key: "paths", isList: true)
    private static let schedule = SourceSetting(variable: "KEYS_SCHEDULE", key: "schedule")
    private static let verifyHours = SourceSetting(variable: "KEYS_VERIFY_INTERVAL_HOURS", key: "verifyIntervalHours")

    static let settings = [paths, schedule, verifyHours]

    static func read(
        _ place: SourcePlace, _ values: inout ConfigurationValues
    ) throws(ConfigurationError) -> KeySetSettings {
        guard let found = try place.paths(paths, &values) else {
            throw ConfigurationError(
                place.name(paths), "it is missing",
                hint: "set it to the absolute paths of the directories that the keys lie in")
        }
        // Each is stored under its last name.
        let names = found.map { $0.split(separator: "/").last }
        guard Set(names).count == names.count, !names.contains(nil) else {
            throw ConfigurationError(
                place.name(paths), "two of its directories have the same last name, or one has none",
                hint: "keys are stored under the last name of their directory: give them different ones")
        }
        return KeySetSettings(
            paths: found,
            schedule: try place.word(schedule, of: KeySetSettings.Schedule.self, "schedule", &values) ?? .daily,
            verifyIntervalHours: try place.number(verifyHours, in: 1...8760, default: 24, &values))
    }
}
