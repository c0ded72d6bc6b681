import Core
import TestSupport
import Testing

@testable import FilesEngine

struct SourceTests {
    @Test func pathsAndPatternsAreCheckedWhenTheyAreNamed() async throws {
        // Shows that what no source can be is refused with 4 and the setting's name before anything is read.
        let cases: [([String], [String], String)] = [
            ([], [], "FILES_PATHS"), (["etc"], [], "FILES_PATHS"), (["/etc/../root"], [], "FILES_PATHS"),
            (["/etc/./x"], [], "FILES_PATHS"), (["/etc", "/etc/ssl"], [], "FILES_PATHS"),
            (["/srv", "/srv/"], [], "FILES_PATHS"), (["/", "/srv"], [], "FILES_PATHS"),
            (["/etc"], ["a/b"], "FILES_EXCLUDE"), (["/etc"], [""], "FILES_EXCLUDE"),
            (["/etc"], ["/etc/x/"], "FILES_EXCLUDE"), (["/etc"], ["/"], "FILES_EXCLUDE"),
        ]
        for (paths, excludes, setting) in cases {
            let failure = try await failure(.configuration) {
                _ = try FilesSource(paths: paths, excludes: excludes)
            }
            #expect(failure.object == setting, "\(paths) \(excludes)")
        }
        let source = try FilesSource(paths: ["//etc//clinic/", "/srv"], excludes: ["*.tmp", "/srv/cache/*"])
        #expect(source.paths == ["/etc/clinic", "/srv"])
        #expect(try source.under("/restored/").location(of: "/srv") == "/restored/srv")
        #expect(try FilesSource(paths: ["/"]).under("/restored").location(of: "/") == "/restored")
        #expect(try FilesSource(paths: ["/etcetera", "/etc"]).paths.count == 2)
    }

    @Test func shownPathsCannotForgeALine() {
        // Shows that control characters and bytes that are not UTF-8 are spelled out.
        #expect(shown("a\nb\u{1B}[2J") == #"'a\x0ab\x1b[2J'"#)
        #expect(shown([0x61, 0xFF, 0x0A]) == #"'a\xff\x0a'"#)
        #expect(shown("ünï") == "'ünï'")
    }

    @Test func timesAreWrittenAndReadAsDecimals() {
        // Shows the way there and back for times around 1970, and that what is no number is refused.
        let cases: [(FileTime, String)] = [
            (FileTime(seconds: 0, nanoseconds: 0), "0"), (FileTime(seconds: 5, nanoseconds: 1), "5.000000001"),
            (FileTime(seconds: -1, nanoseconds: 500_000_000), "-0.5"),
            (FileTime(seconds: -2, nanoseconds: 0), "-2"),
            (FileTime(seconds: -2, nanoseconds: 250_000_000), "-1.75"),
            (FileTime(seconds: 99_999_999_999, nanoseconds: 0), "99999999999"),
        ]
        for (time, text) in cases {
            #expect(TarTime.text(time) == text)
            #expect(TarTime.time(text) == time)
        }
        for text in ["", "-", ".", "1.", ".5", "1.0000000001", "1e3", "+1", "--1", "1.-5"] {
            #expect(TarTime.time(text) == nil, "\(text)")
        }
    }

    @Test func listsAreWrittenAndReadAsText() {
        // Shows an ACL as the kernel keeps it, its text, and that what is no ACL is refused.
        let kernel: [UInt8] =
            [2, 0, 0, 0] + [1, 0, 7, 0, 255, 255, 255, 255] + [2, 0, 5, 0, 0xD2, 4, 0, 0]
            + [4, 0, 4, 0, 255, 255, 255, 255] + [0x10, 0, 5, 0, 255, 255, 255, 255]
            + [0x20, 0, 0, 0, 255, 255, 255, 255]
        let text = "user::rwx\nuser:1234:r-x\ngroup::r--\nmask::r-x\nother::---\n"
        #expect(AccessList.text(kernel) == Array(text.utf8))
        #expect(AccessList.value(Array(text.utf8)) == kernel)
        for bad in ["user", "user:x:rwx", "user::rwz", "mask:5:rwx", "nobody::rwx", "user::rw", "user:1:rwx:5"] {
            #expect(AccessList.value(Array(bad.utf8)) == nil, "\(bad)")
        }
        #expect(AccessList.text([1, 0, 0, 0]) == nil)
        #expect(AccessList.text(kernel.dropLast()) == nil)
        #expect(AccessList.text([2, 0, 0, 0, 3, 0, 7, 0, 0, 0, 0, 0]) == nil)
    }

    @Test func mountPointsAreReadWithTheirEscapes() {
        // Shows that a mount point with a space is known by its name.
        let mounts = MountPoints(
            mountInfo: Array(
                #"""
                22 27 0:21 / /proc rw,nosuid shared:5 - proc proc rw
                29 27 0:26 /x /srv/with\040space rw - ext4 /dev/sda1 rw

                """#.utf8))
        #expect(mounts.paths == ["/proc", "/srv/with space"])
    }
}
