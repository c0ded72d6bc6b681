/// The MariaDB databases that tests back up: a plain clinic of any size, and one with everything a dump finds hard.
package enum MariaDBClinic {
    /// Three tables joined by foreign keys, with a view. `patients` patients make four times as many rows.
    package static func sql(patients: Int) -> String {
        """
        CREATE TABLE patients (id BIGINT AUTO_INCREMENT PRIMARY KEY, name TEXT NOT NULL, born DATE NOT NULL,
            insurance CHAR(12) UNIQUE, created TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3)) ENGINE=InnoDB;
        CREATE TABLE visits (id BIGINT AUTO_INCREMENT PRIMARY KEY, patient BIGINT NOT NULL, at DATETIME NOT NULL,
            reason TEXT, fee DECIMAL(10,2), KEY (patient),
            CONSTRAINT visits_patient FOREIGN KEY (patient) REFERENCES patients (id) ON DELETE CASCADE) ENGINE=InnoDB;
        CREATE TABLE notes (visit BIGINT, body LONGTEXT, attachment LONGBLOB,
            CONSTRAINT notes_visit FOREIGN KEY (visit) REFERENCES visits (id)) ENGINE=InnoDB;
        INSERT INTO patients SELECT seq, CONCAT('Patient ', MD5(seq)), DATE '1930-01-01' + INTERVAL seq % 33000 DAY,
            LPAD(seq, 12, '0'), TIMESTAMP '2024-01-01 00:00:00' + INTERVAL seq MINUTE FROM seq_1_to_\(patients);
        INSERT INTO visits SELECT seq, 1 + (seq - 1) % \(max(patients, 1)),
            TIMESTAMP '2024-06-01 08:00:00' + INTERVAL seq SECOND, CONCAT(MD5(seq), MD5(-seq)), seq % 10000 / 100
            FROM seq_1_to_\(patients * 2);
        INSERT INTO notes SELECT seq, CONCAT('line one of ', seq, '\\n it''s line two'), UNHEX(MD5(seq))
            FROM seq_1_to_\(patients);
        CREATE VIEW fees AS SELECT patient, SUM(fee) AS total FROM visits GROUP BY patient;
        """
    }

    /// Makes a database on `server`, fills it with a clinic of `patients` patients, and returns its name.
    package static func create(
        on server: MariaDBServer, patients: Int = 100, prefix: String = "clinic"
    ) async throws -> String {
        let database = try await server.createDatabase(prefix)
        try await server.sql(sql(patients: patients), database: database)
        return database
    }

    /// Types, names, engines, code and references of every kind, in the database called `database`.
    package static func awkward(_ database: String) -> String {
        #"""
        SET sql_mode = '';
        CREATE TABLE kinds (id INT PRIMARY KEY AUTO_INCREMENT, b BIT(9), bin VARBINARY(20), bl LONGBLOB, j JSON,
            g GEOMETRY, d DATETIME DEFAULT '0000-00-00 00:00:00', dd DATE, f DOUBLE, de DECIMAL(10,2),
            inv INT DEFAULT 3 INVISIBLE, gen INT GENERATED ALWAYS AS (inv * 2) STORED, gv INT AS (inv + 1) VIRTUAL,
            t TEXT, u UUID, i6 INET6, e ENUM('a','b'), s SET('x','y'), tm TIME(3), y YEAR, ts TIMESTAMP(6) NULL,
            CHECK (de < 100 OR de IS NULL)) COMMENT='it''s; a -- comment /* x */ AUTO_INCREMENT=5';
        INSERT INTO kinds (b, bin, bl, j, g, d, dd, f, de, t, e, s, tm, y, ts, u, i6) VALUES
            (b'101010101', x'00ff0a27', REPEAT(x'005c27', 100), '{"a":"it''s"}', ST_GeomFromText('POINT(1 2)'),
            '0000-00-00 00:00:00', '0000-00-00', 1e300, 3.14, 'it''s \\ a "test"\n\r\0\Z; -- x\tünï😀 ),(', 'b', 'x,y',
            '-12:00:00.123', 1999, '2020-01-01 00:00:00.000001', '123e4567-e89b-12d3-a456-426655440000', '::1'),
            (NULL, NULL, NULL, NULL, NULL, '2020-02-30', NULL, -1.5e-300, NULL, '', NULL, '', NULL, NULL, NULL, NULL, NULL);
        CREATE TABLE `we``ird "ünï.x` (`a b` INT, `c``d` TEXT, PRIMARY KEY (`a b`));
        INSERT INTO `we``ird "ünï.x` VALUES (1, 'x'), (2, '),('), (3, '\\'), (4, '\'');
        CREATE TABLE ` VALUES` (a INT);
        INSERT INTO ` VALUES` VALUES (1);
        CREATE TABLE child (id INT PRIMARY KEY, k INT, CONSTRAINT child_kind FOREIGN KEY (k) REFERENCES kinds (id)
            ON DELETE CASCADE);
        INSERT INTO child VALUES (1, 1), (2, NULL);
        CREATE TABLE only_generated (a INT AS (1 + 1) VIRTUAL);
        CREATE TABLE versioned (a INT) WITH SYSTEM VERSIONING;
        INSERT INTO versioned VALUES (1);
        CREATE TABLE parted (a INT, b INT) PARTITION BY RANGE (a)
            (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE);
        INSERT INTO parted VALUES (1, 1), (20, 2);
        CREATE TABLE empty (a INT, b TEXT, FULLTEXT (b));
        CREATE TABLE latin (a VARCHAR(20)) CHARACTER SET latin1;
        INSERT INTO latin VALUES ('größe');
        CREATE SEQUENCE numbers START WITH 5;
        DO NEXTVAL(numbers);
        CREATE TABLE numbered (a INT DEFAULT NEXTVAL(\#(database).numbers), b INT);
        INSERT INTO numbered (b) VALUES (1), (2);
        CREATE VIEW z_later AS SELECT id, t FROM kinds WHERE t LIKE 'it%' OR t IS NULL;
        CREATE VIEW a_first AS SELECT id, t FROM z_later WHERE id > 0;
        CREATE VIEW qualified AS SELECT k.id, s.SCHEMA_NAME FROM \#(database).kinds k
            JOIN information_schema.SCHEMATA s ON s.SCHEMA_NAME = DATABASE();
        DELIMITER //
        CREATE TRIGGER `tr ``ig` BEFORE INSERT ON kinds FOR EACH ROW BEGIN SET NEW.de = 1; /* ; // */ END//
        CREATE TRIGGER \#(database).full_name AFTER INSERT ON \#(database).child FOR EACH ROW SET @x = NEW.id//
        CREATE PROCEDURE plain(IN a INT) COMMENT 'it''s' SELECT 1//
        CREATE PROCEDURE p1(IN a INT) BEGIN SELECT 'a;b' -- ; a comment
        ; # another ;
        SELECT "it's", `id` FROM kinds /* ; */; END//
        CREATE FUNCTION f1(a INT) RETURNS INT DETERMINISTIC RETURN a + 1//
        SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'//
        CREATE FUNCTION f2() RETURNS TEXT DETERMINISTIC RETURN CONCAT('\', ';', "f1"(1))//
        SET sql_mode = 'ORACLE'//
        CREATE PACKAGE tools AS FUNCTION one RETURN INT; END//
        CREATE PACKAGE BODY tools AS FUNCTION one RETURN INT AS BEGIN RETURN 1; END; END//
        SET sql_mode = ''//
        CREATE EVENT running ON SCHEDULE EVERY 1 DAY STARTS '2020-01-01' DO BEGIN DELETE FROM empty WHERE a > 100; END//
        CREATE EVENT stopped ON SCHEDULE EVERY 1 DAY DISABLE COMMENT 'ENABLE' DO SET @y = 1//
        CREATE EVENT expiring ON SCHEDULE AT CURRENT_TIMESTAMP + INTERVAL 10 YEAR DO SET @z = 1//
        DELIMITER ;
        """#
    }

    /// Makes the awkward database on `server` and returns its name.
    package static func createAwkward(on server: MariaDBServer) async throws -> String {
        let database = try await server.createDatabase(
            "awkward", options: "CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci")
        // Without the option the client would take the comments out of the routines.
        _ = try await server.run(
            "mariadb", ["--batch", "--comments", database], input: Array(awkward(database).utf8))
        return database
    }
}
