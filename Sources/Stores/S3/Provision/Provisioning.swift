package import AWS
import Core
package import Logging

/// Looks whether a bucket is what the policy asks, and makes it so.
///
/// Only what falls short is written, and it is read again afterwards: a second run changes nothing. Statements and
/// rules of others stay as they are. A refusal of a single call (`AccessDenied`) is a finding; a server that cannot be
/// reached, and missing credentials, are thrown.
package struct Provisioning: Sendable {
    let settings: S3Settings
    let wish: ProvisionWish
    let bucket: BucketCalls
    let keys: KeyCalls
    private let sleep: @Sendable (Double) async throws -> Void
    private let logger: Logger

    /// `sleep` takes seconds: some servers show a change only a little later. Throws `AWSError` of kind
    /// `configuration` where there is no endpoint.
    package init(
        settings: S3Settings, wish: ProvisionWish, client: AWSClient, configuration: AWSConfiguration,
        logger: Logger,
        sleep: @escaping @Sendable (Double) async throws -> Void = { try await Task.sleep(for: .seconds($0)) }
    ) throws {
        self.settings = settings
        self.wish = wish
        bucket = try BucketCalls(settings: settings, client: client, configuration: configuration, logger: logger)
        keys = KeyCalls(client: client, configuration: configuration)
        self.sleep = sleep
        self.logger = logger
    }

    /// What is there, measured against the wish. Changes nothing.
    package func check() async throws -> [Finding] { try await run(changing: false) }

    /// Makes the bucket if there is none, and changes what falls short. ``Finding/State/changed`` says what it did,
    /// ``Finding/State/short`` what could not be done.
    package func apply() async throws -> [Finding] { try await run(changing: true) }

    private func run(changing: Bool) async throws -> [Finding] {
        var findings: [Finding] = []
        for aspect in aspects {
            let finding = try await settle(aspect, changing: changing)
            logger.debug("\(finding)")
            findings.append(finding)
            // Nothing can be said of a bucket that is not there.
            if aspect.subject == Self.bucketSubject, finding.state == .short { break }
        }
        for key in wish.keys { findings.append(try await settle(rotation(of: key), changing: changing)) }
        return findings
    }

    /// One subject: looked at, changed where that is asked and possible, looked at again.
    private func settle(_ aspect: Aspect, changing: Bool) async throws -> Finding {
        let subject = aspect.subject
        do {
            let look = try await aspect.look()
            guard changing, look.state == .short, let change = look.change else { return look.finding(subject) }
            try await change()
            var after = try await aspect.look()
            for wait in [0.2, 0.5, 1, 2, 4] where after.state == .short {
                try await sleep(wait)
                after = try await aspect.look()
            }
            guard after.state == .short else {
                return Finding(subject, after.state == .ok ? .changed : after.state, after.text, hint: after.hint)
            }
            return Finding(
                subject, .short, "the server took the change and does not show it: \(after.text)",
                hint: "this server may only pretend to have it; see its documentation")
        } catch is NoSuchCall {
            return missing(aspect, "this server has no such setting")
        } catch let error as AWSError where error.isNotOffered {
            return missing(aspect, "this server refuses it (\(error.cause))")
        } catch let error as AWSError where error.kind == .refused {
            return Finding(subject, .short, error.description, hint: error.hint)
        }
    }

    private func missing(_ aspect: Aspect, _ text: String) -> Finding {
        guard aspect.isAskedFor else { return Finding(aspect.subject, .reported, text) }
        return Finding(
            aspect.subject, .short, text, hint: "it is asked for: use a store that has it, or take the setting away")
    }
}

extension AWSError {
    /// The service does not have the call, or not in this form.
    fileprivate var isNotOffered: Bool {
        let codes: Set = [
            "NotImplemented", "MethodNotAllowed", "MalformedXML", "InvalidArgument", "InvalidRequest",
            "UnsupportedOperationException", "XNotImplemented", "InvalidStorageClass",
        ]
        return kind == .refused && (status == 501 || status == 405 || codes.contains(code))
    }
}

/// One thing that is looked at.
struct Aspect: Sendable {
    var subject: String
    /// A configuration asks for it by name: a server that lacks it falls short.
    var isAskedFor: Bool = false
    var look: @Sendable () async throws -> Look
}

/// How a thing was found.
struct Look: Sendable {
    var state: Finding.State
    var text: String
    var hint = ""
    /// Makes it as it is asked for, where that can be done.
    var change: (@Sendable () async throws -> Void)?

    static func ok(_ text: String) -> Look { Look(state: .ok, text: text) }
    static func reported(_ text: String, hint: String = "") -> Look { Look(state: .reported, text: text, hint: hint) }
    static func short(
        _ text: String, hint: String = "", change: (@Sendable () async throws -> Void)? = nil
    ) -> Look {
        Look(
            state: .short, text: text, hint: hint.isEmpty && change != nil ? "'lifeboat provision' sets it" : hint,
            change: change)
    }

    func finding(_ subject: String) -> Finding { Finding(subject, state, text, hint: hint) }
}
