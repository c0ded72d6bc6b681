/// The Python beside the tests, as the other side of a format.
package enum Python {
    package static var withJSONSchema: RealPart {
        RealPart("Python with jsonschema", isPresent: hasJSONSchema)
    }

    private static let hasJSONSchema = (try? run(["-c", "import jsonschema"]).status) == 0

    /// Runs `python3` and waits for its end; `output` is what it wrote to standard output and error.
    package static func run(_ arguments: [String]) throws -> (status: Int32, output: String) {
        try runProgram("/usr/bin/env", ["python3"] + arguments)
    }
}
