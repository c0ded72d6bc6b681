import Foundation

/// The Python beside the tests, as the other side of a format.
package enum Python {
    package static var withJSONSchema: RealPart {
        RealPart("Python with jsonschema", isPresent: hasJSONSchema)
    }

    private static let hasJSONSchema = (try? run(["-c", "import jsonschema"]).status) == 0

    /// Runs `python3` and waits for its end; `output` is what it wrote to standard output and error.
    package static func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = ["python3"] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = try pipe.fileHandleForReading.readToEnd() ?? Data()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: output, as: UTF8.self))
    }
}
