/// A service that keeps copies of its own of where a source lies, as one more layer beside the sets. What it keeps is no
/// set: nothing here reads it, proves it or restores it.
package protocol Vault: Sendable {
    /// For people: `the vault clinic in eu-central-1`.
    var label: String { get }

    /// Asks for a copy and returns once it is promised; making it takes the service minutes to hours. With the same
    /// `token` it is the same copy, however often it is asked for, so a call whose answer was lost is repeated.
    ///
    /// `keepDays`: after how many days the service deletes it, from 1; `nil` for never. Cancelled, it ends at once, and
    /// the copy may have been asked for all the same.
    func start(token: String, keepDays: Int?) async throws -> VaultJob

    /// How far the copy is that `job` stands for. Throws where the service knows no such job, or knows it as one of
    /// another resource or vault: a record of ours that somebody has written anew.
    func state(of job: VaultJob) async throws -> VaultJobState
}

/// A copy that a vault was asked for.
package struct VaultJob: Equatable, Sendable {
    /// By the service.
    package var id: String
    /// The vault's name.
    package var vault: String
    /// What the copy is of, as the service names it: an ARN.
    package var resource: String
    /// What the copy is called once it is there; `nil` where the service did not say yet.
    package var recoveryPoint: String?

    package init(id: String, vault: String, resource: String, recoveryPoint: String? = nil) {
        self.id = id
        self.vault = vault
        self.resource = resource
        self.recoveryPoint = recoveryPoint
    }

    /// Of the result and the record alike.
    package var members: [String: JSON] {
        var members: [String: JSON] = [
            "jobId": .string(id), "vault": .string(vault), "resource": .string(resource),
        ]
        members["recoveryPoint"] = recoveryPoint.map { .string($0) }
        return members
    }
}

package struct VaultJobState: Equatable, Sendable {
    package enum Phase: String, CaseIterable, Sendable {
        case underWay, completed
        /// It will not come to be, or not whole.
        case failed
    }

    package var phase: Phase
    /// The service's own word for it: `RUNNING`, `EXPIRED`.
    package var word: String
    /// The service's reason, where it gives one.
    package var message: String?
    package var recoveryPoint: String?
    /// Bytes of the copy, where they are known.
    package var size: Int64?
    package var completed: Timestamp?

    package init(
        phase: Phase, word: String, message: String? = nil, recoveryPoint: String? = nil, size: Int64? = nil,
        completed: Timestamp? = nil
    ) {
        self.phase = phase
        self.word = word
        self.message = message
        self.recoveryPoint = recoveryPoint
        self.size = size
        self.completed = completed
    }
}
