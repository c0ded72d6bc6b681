/// A configured target as far as events have to agree with it.
package struct EventTarget: Sendable {
    package var name: String
    package var engine: EngineName
    /// There is a second store beside the first.
    package var isCopied: Bool
    /// The event itself brings what a backup stores.
    package var takesRecords: Bool
    /// Configured places that a restore of it may go to.
    package var destinations: [String]
    /// Those that hold another kind of source, with what they are.
    package var foreignDestinations: [String: String]
    /// Its sets are of a whole PostgreSQL server, as its files.
    package var isPhysical: Bool
    /// Where sets are of a whole server: configured directories that one may be restored to.
    package var directories: [String]
    /// The settings name a directory for a whole server that is restored.
    package var hasRestoreDirectory: Bool
    /// There is a place to bring a set to life in, to prove it.
    package var hasScratch: Bool

    package init(
        _ name: String, engine: EngineName = .postgres, isCopied: Bool = false, takesRecords: Bool = false,
        destinations: [String] = [], foreignDestinations: [String: String] = [:], isPhysical: Bool = false,
        directories: [String] = [], hasRestoreDirectory: Bool = false, hasScratch: Bool = false
    ) {
        self.isPhysical = isPhysical
        self.directories = directories
        self.hasRestoreDirectory = hasRestoreDirectory
        self.hasScratch = hasScratch
        self.name = name
        self.engine = engine
        self.isCopied = isCopied
        self.takesRecords = takesRecords
        self.destinations = destinations
        self.foreignDestinations = foreignDestinations
    }
}

extension TargetSettings {
    package var forEvents: EventTarget {
        var takesRecords = false
        if case .auditRecords(let audit) = source, audit.source == .event { takesRecords = true }
        let engine = source.name
        return EventTarget(
            name, engine: engine, isCopied: secondary != nil, takesRecords: takesRecords,
            destinations: destinations.filter { $0.value.takes(engine) }.keys.sorted(),
            foreignDestinations: destinations.filter { !$0.value.takes(engine) }.mapValues(\.kind),
            isPhysical: isPhysical,
            directories: isPhysical ? destinations.filter { $0.value.isDirectory }.keys.sorted() : [],
            hasRestoreDirectory: recovery.restoreDirectory != nil, hasScratch: recovery.hasScratch)
    }
}
