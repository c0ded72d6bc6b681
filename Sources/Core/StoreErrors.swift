/// The store took an object or a change and did not keep it as it was asked to: a lock, an encryption or a storage
/// class that is not there when it is read back.
package struct NotApplied: Failure {
    package let key: String
    /// What was asked for, and what was found: `Object Lock until … was asked for; there is none`.
    package let problem: String

    package init(key: String, problem: String) {
        self.key = key
        self.problem = problem
    }

    package var exitCode: ExitCode { .store }
    package var operation: String { "protect the object" }
    package var object: String { key }
    package var cause: String { problem }
    package var hint: String {
        "the store says yes and does not do it; 'lifeboat provision --check' shows what the bucket lacks"
    }
}

/// The kind of store has no such thing.
package struct NotSupportedByStore: Failure {
    package let key: String
    package let what: String

    package init(key: String, what: String) {
        self.key = key
        self.what = what
    }

    package var exitCode: ExitCode { .configuration }
    package var operation: String { "keep the object as asked for" }
    package var object: String { key }
    package var cause: String { "this kind of store has no \(what)" }
    package var hint: String { "use a store that has it, or take the setting that asks for it away" }
}

/// The object's bytes lie in an archive and cannot be read now.
package struct ObjectArchived: Failure {
    package let key: String
    package let storageClass: StorageClass
    package let isThawing: Bool

    package init(key: String, storageClass: StorageClass, isThawing: Bool) {
        self.key = key
        self.storageClass = storageClass
        self.isThawing = isThawing
    }

    package var exitCode: ExitCode { .thawRequested }
    package var operation: String { "read the object" }
    package var object: String { key }
    package var cause: String {
        "it lies in \(storageClass.rawValue)" + (isThawing ? " and is being thawed" : " and has not been thawed")
    }
    package var hint: String {
        storageClass == .deepArchive
            ? "run again in 12 to 48 hours: the thaw goes on by itself"
            : "run again in 3 to 12 hours: the thaw goes on by itself"
    }
}

/// The key of a create-only put is taken.
package struct StoreConflict: Failure {
    package let key: String

    package init(key: String) { self.key = key }

    package var exitCode: ExitCode { .store }
    package var operation: String { "create the object" }
    package var object: String { key }
    package var cause: String { "there is one already, and it may not be replaced" }
    package var hint: String { "another run wrote it; look at it with 'lifeboat list' and run again" }
}

/// No object under this key.
package struct ObjectNotFound: Failure {
    package let key: String

    package init(key: String) { self.key = key }

    package var exitCode: ExitCode { .store }
    package var operation: String { "read the object" }
    package var object: String { key }
    package var cause: String { "it is not in the store" }
    package var hint: String { "check the key with 'lifeboat list', and the store's location and prefix" }
}
