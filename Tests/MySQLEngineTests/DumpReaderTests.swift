import CScan
import Core
import Streams
import TestSupport
import Testing

@testable import MySQLEngine

@Suite("The reader of MySQL dumps")
struct DumpReaderTests {
    static let mariadb = #"""
        /*M!999999\- enable the sandbox mode */ 
        -- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)
        --
        /*!40101 SET NAMES utf8mb4 */;
        /*!40014 SET @OLD_FOREIGN_KEY_CHECKS=@@FOREIGN_KEY_CHECKS, FOREIGN_KEY_CHECKS=0 */;
        /*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;
        /*M!100616 SET @OLD_NOTE_VERBOSITY=@@NOTE_VERBOSITY, NOTE_VERBOSITY=0 */;
        -- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000007', MASTER_LOG_POS=512;
        -- SET GLOBAL gtid_slave_pos='0-1-5';
        DROP TABLE IF EXISTS `t`;
        CREATE TABLE `t` (
          `id` int(11) NOT NULL AUTO_INCREMENT,
          `b` text DEFAULT NULL,
          PRIMARY KEY (`id`)
        ) ENGINE=InnoDB AUTO_INCREMENT=3 DEFAULT CHARSET=utf8mb4;
        LOCK TABLES `t` WRITE;
        /*!40000 ALTER TABLE `t` DISABLE KEYS */;
        INSERT INTO `t` VALUES
        (1,'x\'),(\n;'),
        (2,NULL),
        (-3,0x00FF);
        /*!40000 ALTER TABLE `t` ENABLE KEYS */;
        UNLOCK TABLES;
        -- Dump completed on 2026-11-21 16:17:12

        """#

    /// The form of MySQL 8: rows on one line, and other words around them.
    static let mysql = #"""
        -- MySQL dump 10.13  Distrib 8.0.36, for Linux (x86_64)
        --
        /*!50503 SET NAMES utf8mb4 */;
        /*!40111 SET @OLD_SQL_NOTES=@@SQL_NOTES, SQL_NOTES=0 */;
        -- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='binlog.000007', SOURCE_LOG_POS=512;
        DROP TABLE IF EXISTS `t`;
        CREATE TABLE `t` (
          `id` int(11) NOT NULL AUTO_INCREMENT,
          `b` text DEFAULT NULL,
          PRIMARY KEY (`id`)
        ) ENGINE=InnoDB AUTO_INCREMENT=9 DEFAULT CHARSET=utf8mb4;
        LOCK TABLES `t` WRITE;
        INSERT INTO `t` VALUES (-3,0x00FF),(2,NULL);
        INSERT INTO `t` VALUES (1,'x\'),(\n;');
        UNLOCK TABLES;
        -- Dump completed on 2026-11-21 16:17:12

        """#

    @Test("finds the same rows whatever their order and lines, and keeps what drifts out of what must be equal")
    func forms() throws {
        let (first, facts) = try contents(of: Self.mariadb)
        let (second, others) = try contents(of: Self.mysql)
        #expect(first.data == second.data)
        #expect(first.rows == 3)
        #expect(first.data.first?.columns == ["id", "b"])
        #expect(ContentsComparison(recorded: first, found: second).isEqual)
        #expect(first.schema.map(\.printed) != second.schema.map(\.printed))
        #expect(facts.binlogFile == "binlog.000007" && facts.binlogPosition == "512" && facts.gtid == "0-1-5")
        #expect(others.binlogFile == "binlog.000007" && others.binlogPosition == "512")
    }

    @Test("gives the same whatever the pieces a dump comes in", arguments: [1, 2, 3, 7, 64, 1000])
    func pieces(size: Int) throws {
        for text in [Self.mariadb, Self.mysql] {
            #expect(try contents(of: text, pieces: size).contents == contents(of: text).contents)
        }
    }

    @Test("reads over plain bytes as far as a byte-by-byte reader does, at every length and place")
    func scans() {
        var random = SeededRandom(seed: 11)
        let signs = Array("'\\azAZ09@[`{/:,-_ )\u{80}\u{ff}".utf8)
        for round in 0..<3000 {
            let isPlain = round % 2 == 0
            var bytes = (0..<Int.random(in: 0...70, using: &random)).map { _ in
                isPlain ? UInt8(ascii: "k") : Array("abcXYZ059".utf8).randomElement(using: &random) ?? 0
            }
            if !bytes.isEmpty, round % 3 != 0 {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = signs.randomElement(using: &random) ?? 0
            }
            let text = bytes.firstIndex { $0 == UInt8(ascii: "'") || $0 == UInt8(ascii: "\\") } ?? bytes.count
            let word = bytes.firstIndex { byte in
                !Character(Unicode.Scalar(byte)).isASCII
                    || !(Character(Unicode.Scalar(byte)).isLetter || Character(Unicode.Scalar(byte)).isNumber)
            }
            #expect(cscan_plain_text(bytes, bytes.count) == text)
            #expect(cscan_alphanumeric(bytes, bytes.count) == word ?? bytes.count)
        }
    }

    @Test("sees a changed, a doubled, a lost and a moved value")
    func changes() throws {
        let (recorded, _) = try contents(of: Self.mariadb)
        for (old, new) in [
            ("(2,NULL)", "(2,'NULL')"), ("(2,NULL),", "(2,NULL),\n(2,NULL),"), ("(2,NULL),\n", ""),
            ("0x00FF", "0x00FE"), ("`b` text", "`b` longtext"), ("`b` text", "`c` text"),
        ] {
            let changed = Self.mariadb.replacing(old, with: new)
            #expect(changed != Self.mariadb)
            let found = try contents(of: changed).contents
            #expect(!ContentsComparison(recorded: recorded, found: found).isEqual, "\(old) to \(new)")
        }
    }

    /// What a holder of a public key might put into a set.
    static let attacks = [
        "\\! touch /tmp/x\n", "SELECT 1;\n", "USE other;\n", "INSERT INTO `o`.`t` VALUES (1);\n",
        "INSERT INTO `t` VALUES ((SELECT 1));\n", "INSERT INTO `t` VALUES (LOAD_FILE('/etc/passwd'));\n",
        "INSERT INTO `t` VALUES (1 -- ),(\n);\n", "INSERT INTO `t` VALUES (1/*,*/);\n",
        "INSERT INTO `t` SELECT * FROM mysql.user;\n", "REPLACE INTO `t` VALUES (1,'x');\n",
        "SET GLOBAL general_log_file='/tmp/x';\n", "SET @@GLOBAL.read_only=0;\n", "SET PASSWORD='x';\n",
        "SET @x=(SELECT 1);\n", "SET @x=LOAD_FILE('x');\n", "SET PERSIST x=1;\n", "SET sql_log_bin=0;\n",
        "CREATE TABLE `u` AS SELECT 1;\n", "CREATE TABLE `u` (a int) SELECT 1 AS a;\n",
        "CREATE TABLE `o`.`u` (a int);\n", "CREATE TABLE `u` LIKE `mysql`.`user`;\n", "DROP DATABASE `clinic`;\n",
        "DROP TABLE `t`;\n", "DROP TABLE IF EXISTS `o`.`t`;\n", "CREATE USER x;\n", "GRANT ALL ON *.* TO x;\n",
        "LOAD DATA LOCAL INFILE 'x' INTO TABLE t;\n", "DELIMITER x\n", "DELIMITER \\!\n", "source x;\n",
        "CALL p();\n", "/*!50003 CALL p() */;\n", "DO SLEEP(100);\n", "DO SETVAL(`s`, (SELECT 1), 0);\n",
        "ALTER TABLE `t` ADD COLUMN x INT;\n", "ALTER DATABASE `x` COMMENT 'x';\n", "#x\n", "\u{0}\n",
        "CREATE VIEW `o`.`v` AS SELECT 1;\n",
        "CREATE DEFINER=`a`@`b` TRIGGER o.t BEFORE INSERT ON o.u FOR EACH ROW x;\n",
        "CREATE DEFINER=`a`@`b` PROCEDURE `o`.`p`() SELECT 1;\n", "FLUSH PRIVILEGES;\n", "SHUTDOWN;\n", ";\n",
        "CREATE FUNCTION f RETURNS STRING SONAME 'x.so';\n", "CREATE TABLE `u` (LIKE `mysql`.`user`);\n",
        "CREATE TABLE `u` (a int) TABLE mysql.user;\n", "CREATE TABLE `u` (a int) AS VALUES (1);\n",
        "CREATE DEFINER=`root`@`localhost` TRIGGER x BEFORE INSERT ON `t` FOR EACH ROW CALL o.p();\n"
            + "INSERT INTO `t` VALUES (9,'x');\n",
    ]

    @Test("refuses what no dump contains", arguments: attacks)
    func refusals(attack: String) throws {
        let text = Self.mariadb.replacing("UNLOCK TABLES;\n", with: "UNLOCK TABLES;\n" + attack)
        let error = #expect(throws: SQLDumpError.self) { try contents(of: text) }
        #expect(error?.exitCode == .verificationFailed)
        #expect(error?.description.contains("passwd") == false)
    }

    @Test("knows a dump that was cut from a whole one, wherever it was cut")
    func cuts() throws {
        let text = Self.mariadb
        var isWhole = 0
        for length in stride(from: 0, to: text.utf8.count - 1, by: 3) {
            var tail = StreamTail()
            Array(text.utf8.prefix(length)).withUnsafeBytes { tail.add($0) }
            if tail.endsWithCompletedDump { isWhole += 1 }
        }
        #expect(isWhole == 0)
        #expect(throws: SQLDumpError.self) { try contents(of: String(text.prefix(900))) }
    }

    @Test("leaves the own database's name out of digests, so that a restore under another compares equal")
    func names() throws {
        let head = "CREATE TABLE `t` (\n  `id` int DEFAULT nextval(`clinic`.`s`)\n) ENGINE=InnoDB;\n"
        let view = """
            /*!50001 CREATE VIEW `v` AS SELECT
             1 AS `id` */;
            /*!50001 CREATE ALGORITHM=UNDEFINED */
            /*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */
            /*!50001 VIEW `v` AS select `t`.`id` AS `id` from (`clinic`.`t` join `mysql`.`db`) */;

            """
        let code = """
            DELIMITER ;;
            /*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 trigger clinic.g before insert on clinic.t
            for each row set @x = 'clinic.t; not ours' */;;
            DELIMITER ;

            """
        let text = head + view + code
        let other = text.replacing("`clinic`", with: "`else`").replacing("clinic.g", with: "g")
            .replacing("clinic.t\n", with: "else.t\n")
        let (first, facts) = try contents(of: text)
        #expect(first == (try contents(of: other, database: "else").contents))
        #expect(facts.definers == ["root@localhost"])
        #expect(first.schema.map(\.type) == ["TABLE", "TRIGGER", "VIEW"])
    }

    @Test("follows a session that reads backslashes as themselves, and double quotes as names'")
    func modes() throws {
        let text = """
            /*!50003 SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES' */ ;
            DELIMITER ;;
            CREATE DEFINER="root"@"localhost" FUNCTION "f""2"() RETURNS text
            RETURN CONCAT('\\', ';;', 'it''s')
            ;;
            DELIMITER ;
            /*!50003 SET sql_mode = @saved_sql_mode */ ;
            CREATE TABLE `t` (
              `a` text
            ) ENGINE=InnoDB;
            INSERT INTO `t` VALUES ('\\'');

            """
        let (found, _) = try contents(of: text)
        #expect(found.schema.first { $0.type == "FUNCTION" }?.name == "f\"2")
        #expect(found.rows == 1)
    }

    @Test("reads an event that was held back as the one it is, and knows those that run out")
    func events() throws {
        func event(_ status: String) -> String {
            """
            DELIMITER ;;
            /*!50106 CREATE*/ /*!50117 DEFINER=`a`@`b`*/ /*!50106 EVENT `e` ON SCHEDULE AT '2030-01-01 00:00:00' \
            ON COMPLETION NOT PRESERVE \(status) COMMENT 'DISABLE' DO set @x = 1 */ ;;
            DELIMITER ;

            """
        }
        let (running, facts) = try contents(of: event("ENABLE"))
        #expect(facts.enabledEvents == ["e"] && facts.expiringEvents == ["e"])
        #expect(running == (try contents(of: event("DISABLE"), held: ["e"]).contents))
        #expect(running != (try contents(of: event("DISABLE")).contents))
    }

    @Test("takes any cut, swapped or foreign byte as an answer or an error, never as a crash")
    func mutations() throws {
        var random = SeededRandom(seed: 7)
        let bytes = Array(Self.mariadb.utf8)
        for _ in 0..<400 {
            var changed = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: 0..<changed.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: changed[index] = UInt8.random(in: 0...255, using: &random)
                case 1: changed.remove(at: index)
                default: changed.insert(bytes[Int.random(in: 0..<bytes.count, using: &random)], at: index)
                }
            }
            do {
                _ = try contents(of: String(decoding: changed, as: UTF8.self))
            } catch is SQLDumpError {}
        }
    }
}
