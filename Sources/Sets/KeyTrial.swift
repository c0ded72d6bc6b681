package import Core
import Envelope

/// Whether a set can be had by one key alone. Its manifest and the records of its recipients are read, and none of its
/// segments.
package enum KeyTrial: Equatable, Sendable {
    case opens
    /// The set was never sealed for it.
    case notAddressed
    /// It was, and the key does not open it. The text is the key's own words.
    case refuses(String)

    /// Tries `identity` on the set `stored`, whose manifest was read from `home`; `others` are the stores of further
    /// copies, for their records. Throws ``SetError`` where what opens is not to be believed, and the store's error.
    package static func of(
        _ identity: any KeyProvider, on stored: StoredManifest, in home: any Store, others: [any Store] = [],
        configuration: SetReaderConfiguration
    ) async throws -> KeyTrial {
        var alone = configuration
        alone.identities = [identity]
        do {
            _ = try await SetReader.believe(stored, in: home, others: others, alone, notes: ReadingNotes())
            return .opens
        } catch EnvelopeError.noKeyOpens(let refusals, _) {
            for refusal in refusals {
                switch refusal.reason {
                case .notAddressed: continue
                case .sealsOnly: return .refuses("it is half a key, which seals and does not open")
                case .failed(let why): return .refuses(why)
                }
            }
            return .notAddressed
        }
    }
}
