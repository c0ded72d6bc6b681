import Core
import Logging
import Sets

extension Workplace {
    /// When the recipients' keys end, of those that do.
    ///
    /// A key that cannot be asked is passed over here: where it is needed, sealing for it fails by its name, and where
    /// it is optional, the set says that it was left out.
    func keyExpiries() async throws -> [KeyExpiry] {
        var found: [KeyExpiry] = []
        for recipient in writer.recipients + writer.optionalRecipients {
            let name = recipient.capabilities.name
            do {
                guard let expires = try await recipient.expiry() else { continue }
                found.append(KeyExpiry(key: name, expires: expires))
            } catch let error as CancellationError {
                throw error
            } catch {
                logger.debug("a key does not say when it ends", metadata: ["key": "\(name)", "why": "\(error)"])
            }
        }
        return found
    }
}

extension JobResult {
    /// Takes up when keys end, and warns of those that soon will.
    ///
    /// `stored`: the first of the keys that the source consists of, where it does.
    mutating func note(_ recipients: [KeyExpiry], stored: KeyExpiry?, at now: Timestamp) {
        let expiries = recipients + [stored].compactMap { $0 }
        keyExpiries = expiries
        for expiry in expiries where expiry.expires.seconds(since: now) < KeyExpiry.warning {
            let days = Int(max(0, expiry.expires.seconds(since: now)) / 86_400)
            let end = "ends on \(expiry.expires.day), in \(counted(days, "day"))"
            if expiry == stored {
                notes.append("the first of the keys that are backed up \(end): rotate it before")
            } else {
                notes.append(
                    "the key \(expiry.key) \(end): extend it, or name another beside it, for no backup can be sealed for "
                        + "it after that")
            }
        }
    }
}
