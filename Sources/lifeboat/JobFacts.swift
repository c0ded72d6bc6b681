import Core

/// What every job has, whatever it is.
extension Job {
    var target: String {
        switch self {
        case .backup(let job): job.target
        case .verify(let job): job.target
        case .restore(let job): job.target
        case .list(let job): job.target
        case .prune(let job): job.target
        case .hold(let job): job.target
        case .rewrap(let job): job.target
        case .export(let job): job.target
        case .wal(let job): job.target
        case .drill(let job): job.target
        }
    }

    var requestID: RequestID {
        switch self {
        case .backup(let job): job.requestID
        case .verify(let job): job.requestID
        case .restore(let job): job.requestID
        case .list(let job): job.requestID
        case .prune(let job): job.requestID
        case .hold(let job): job.requestID
        case .rewrap(let job): job.requestID
        case .export(let job): job.requestID
        case .wal(let job): job.requestID
        case .drill(let job): job.requestID
        }
    }

    var isDryRun: Bool {
        switch self {
        case .backup(let job): job.dryRun
        case .verify(let job): job.dryRun
        case .restore(let job): job.dryRun
        case .list: false
        case .prune(let job): job.dryRun
        case .hold(let job): job.dryRun
        case .rewrap(let job): job.dryRun
        case .export(let job): job.dryRun
        case .wal(let job): job.dryRun
        case .drill(let job): job.dryRun
        }
    }

    /// As far as the event says it.
    var tier: Tier? {
        switch self {
        case .backup(let job): job.tier
        case .verify(let job): job.key.tier
        case .restore(let job): job.key.tier
        case .hold(let job): job.key.tier
        case .rewrap(let job): job.key?.tier
        case .export(let job): job.key.tier
        case .drill(let job): job.key.tier
        case .list, .prune, .wal: nil
        }
    }
}

extension KeySelector {
    fileprivate var tier: Tier? {
        switch self {
        case .exact(let key): key.tier
        case .latest(let tier): tier
        case .day(let tier, _): tier
        case .random: nil
        }
    }
}
