import ArgumentParser
import CLinux
import Core
import Glibc

// Buffers pass between threads all day.
linux_tune_allocator()

// The MongoDB client has made a file of its counters, for others to look into, before anything of ours ran. It stays
// mapped without its name, and nothing is left in /dev/shm, however this process ends.
shm_unlink("/mongoc-\(getpid())")

do {
    var parsed = try Lifeboat.parseAsRoot()
    guard let command = parsed as? any LifeboatCommand else {
        // Help, and what only groups others: running them throws the page that they have to show.
        try parsed.run()
        exit(0)
    }
    let run = Run(command.invocation, environment: processEnvironment(), termination: try Termination())
    let status = await run.execute()
    // At once: a device's module, loaded for a key, may end the process with a signal when the libraries under it have
    // been taken down before it, and the exit code is what the job is judged by.
    fflush(nil)
    _exit(status)
} catch let failure as any Failure {
    Output.writeError(failure.description)
    exit(failure.exitCode.rawValue)
} catch {
    // What ArgumentParser throws: help and version on standard output, a usage error on standard error.
    let isUsageError = Lifeboat.exitCode(for: error) != .success
    let message = Lifeboat.fullMessage(for: error)
    if isUsageError { Output.writeError(message) } else { Output.write(message) }
    let isFetch = WALCall.isFetch(Array(CommandLine.arguments.dropFirst()))
    exit(isUsageError ? (isFetch ? WALCall.endsRecovery : Core.ExitCode.eventRefused.rawValue) : 0)
}
