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

    package init(
        _ name: String, engine: EngineName = .postgres, isCopied: Bool = false, takesRecords: Bool = false,
        destinations: [String] = [], foreignDestinations: [String: String] = [:]
    ) {
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
            foreignDestinations: destinations.filter { !$0.value.takes(engine) }.mapValues(\.kind))
    }
}
