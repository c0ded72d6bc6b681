"""The part of the benchmark that compares the byte path to and from a bucket with the AWS CLI.

A gibibyte of random bytes goes up and comes down again, by lifeboat's byte path (compression off, encrypted,
authenticated and digested on the way) and by `aws s3 cp`, in turn, to the same server. Both read from and write to
memory, so that no disk but the server's own takes part.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import time

MIB = 2**20


class Measured:
    """One finished process: seconds of wall and CPU time, and its largest resident memory in bytes."""

    def __init__(self, command, environment, fail):
        output = environment["STORE_LOG"]
        with open(output, "wb") as out, open(os.devnull, "rb") as nothing:
            begin = time.perf_counter()
            pid = os.posix_spawn(command[0], command, environment, file_actions=[
                (os.POSIX_SPAWN_DUP2, nothing.fileno(), 0), (os.POSIX_SPAWN_DUP2, out.fileno(), 1),
                (os.POSIX_SPAWN_DUP2, out.fileno(), 2)])
            _, status, usage = os.wait4(pid, 0)
            self.seconds = time.perf_counter() - begin
        self.cpu = usage.ru_utime + usage.ru_stime
        self.memory = usage.ru_maxrss * 1024
        with open(output, encoding="utf-8", errors="replace") as file:
            self.output = file.read().strip()
        if status != 0:
            raise fail(f"{' '.join(command)}: {self.output[-2000:]}")


class Rclone:
    """`rclone serve s3` over a directory."""

    name = "rclone serve s3"

    def __init__(self, program, directory):
        self.program = program
        self.directory = os.path.join(directory, "rclone")
        self.process = None
        self.access, self.secret = "BENCHACCESSKEY", "benchsecretkey"

    def start(self):
        os.makedirs(os.path.join(self.directory, "bench"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            [self.program, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key",
             f"{self.access},{self.secret}", "--no-checksum", self.directory],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(port)

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait()


class Ceph:
    """A RADOS Gateway with one OSD, by scripts/ceph."""

    name = "Ceph RADOS Gateway"

    def __init__(self, script, directory):
        self.script = script
        self.directory = os.path.join(directory, "ceph")
        self.process = None

    def start(self):
        # It ends with its standard input.
        self.process = subprocess.Popen(
            [self.script, self.directory], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        facts = {}
        for line in self.process.stdout:
            if line.strip() == "ready":
                break
            name, _, value = line.strip().partition("=")
            facts[name] = value
        else:
            raise OSError("Ceph did not start")
        self.endpoint, self.access, self.secret = facts["http"], facts["access"], facts["secret"]

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()


def wait_for(port):
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise OSError(f"nothing answers on port {port}")


class StoreBench:
    def __init__(self, bench, tell, failed):
        self.bench = bench
        self.tell = tell
        self.failed = failed
        options = bench.options
        self.program = options.store_benchmark
        self.aws = options.aws
        # Memory, where there is room for three files.
        self.memory = "/dev/shm" if shutil.disk_usage("/dev/shm").free > 4 * options.store_bytes else bench.directory
        self.file = os.path.join(self.memory, f"lifeboat-bench-{os.getpid()}")
        self.servers = [
            Ceph(os.path.join(options.repository, "scripts", "ceph"), bench.directory),
            Rclone(options.rclone, bench.directory)]

    def measure(self):
        self.tell("Stores: generating random bytes")
        with open(self.file, "wb") as file:
            for _ in range(self.bench.options.store_bytes // MIB):
                file.write(os.urandom(MIB))
        try:
            for server in self.servers:
                server.start()
                try:
                    self.measure_server(server)
                    if isinstance(server, Ceph):
                        self.measure_listing(server)
                finally:
                    server.stop()
        finally:
            for name in (self.file, self.file + ".down"):
                if os.path.exists(name):
                    os.remove(name)

    def environment(self, server):
        return {
            "PATH": os.environ["PATH"], "HOME": self.bench.directory, "AWS_ACCESS_KEY_ID": server.access,
            "AWS_SECRET_ACCESS_KEY": server.secret, "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": server.endpoint,
            "AWS_EC2_METADATA_DISABLED": "true", "STORE_BUCKET": "bench", "STORE_KEY": self.bench.key,
            "STORE_OUTPUT": self.file + ".down", "STORE_LOG": os.path.join(self.bench.directory, "store.log")}

    def run(self, server, *command):
        os.sync()
        return Measured(list(command), self.environment(server), self.failed)

    def measure_server(self, server):
        self.tell(f"Stores: {server.name}")
        if isinstance(server, Ceph):
            self.run(server, self.aws, "s3", "mb", "s3://bench")
        up, down = [], []
        for number in range(self.bench.options.store_runs + 1):
            pair_up = (self.run(server, self.program, "upload", self.file),
                       self.run(server, self.aws, "s3", "cp", "--no-progress", self.file, "s3://bench/aws"))
            key = pair_up[0].output.splitlines()[-1]
            pair_down = (self.run(server, self.program, "download", key),
                         self.run(server, self.aws, "s3", "cp", "--no-progress", "s3://bench/aws",
                                  self.file + ".down"))
            self.run(server, self.aws, "s3", "rm", "--recursive", "--only-show-errors", f"s3://bench/{key}/")
            self.tell(f"  round {number}: up {pair_up[0].seconds:.2f} and {pair_up[1].seconds:.2f} s,"
                      f" down {pair_down[0].seconds:.2f} and {pair_down[1].seconds:.2f} s")
            if number > 0:
                up.append(pair_up)
                down.append(pair_down)
        self.rows(server, "upload", up)
        self.rows(server, "download", down)

    def rows(self, server, direction, pairs):
        size = self.bench.options.store_bytes / MIB

        def row(what, unit, values, target):
            ratios = [ours / theirs for ours, theirs in values]
            ours, theirs = (statistics.median(side) for side in zip(*values))
            self.bench.rows.append({
                "what": f"{direction} of {size:.0f} MiB, {server.name}: {what}", "ours": f"{ours:.2f} {unit}",
                "against": f"`aws s3 cp`: {theirs:.2f} {unit}",
                "measured": f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
                "target": f"≤ {target:.2f}", "met": statistics.median(ratios) <= target})

        row("time", "s", [(a.seconds, b.seconds) for a, b in pairs], 1.0)
        row("CPU", "s", [(a.cpu, b.cpu) for a, b in pairs], 1 / 3)
        peak = max(a.memory for a, _ in pairs)
        theirs = max(b.memory for _, b in pairs)
        self.bench.rows.append({
            "what": f"{direction} of {size:.0f} MiB, {server.name}: peak memory", "ours": f"{peak / MIB:.1f} MiB",
            "against": f"`aws s3 cp`: {theirs / MIB:.1f} MiB", "measured": "", "target": "≤ 128 MiB",
            "met": peak <= 128 * MIB})

    def measure_listing(self, server):
        count = self.bench.options.sets
        self.tell(f"Stores: listing {count} sets")
        self.run(server, self.aws, "s3", "mb", "s3://bench-list")
        environment = dict(self.environment(server), STORE_BUCKET="bench-list")
        Measured([self.program, "fill", str(count)], environment, self.failed)
        ours, theirs = [], []
        for _ in range(self.bench.options.store_runs):
            ours.append(Measured([self.program, "list", ""], environment, self.failed))
            theirs.append(Measured([self.aws, "s3", "ls", "--recursive", "s3://bench-list/"], environment, self.failed))
        listed = re.search(r"(\d+) sets", ours[0].output)
        if not listed or int(listed.group(1)) != count:
            raise self.failed(f"the listing says: {ours[0].output}")
        lines = len(theirs[0].output.splitlines())
        for what, ours_value, theirs_value in (
                ("time", f"{statistics.median(r.seconds for r in ours):.2f} s",
                 f"{statistics.median(r.seconds for r in theirs):.2f} s"),
                ("peak memory", f"{max(r.memory for r in ours) / MIB:.1f} MiB",
                 f"{max(r.memory for r in theirs) / MIB:.1f} MiB")):
            self.bench.rows.append({
                "what": f"listing {count} sets ({lines} objects): {what}", "ours": ours_value,
                "against": f"`aws s3 ls --recursive`: {theirs_value}", "measured": "", "target": "none",
                "met": None})
