import CPKCS11
import Core
import Glibc

typealias FunctionList = UnsafeMutablePointer<ck_function_list>

/// The PKCS#11 modules that this process has loaded: each once, however many keys are in its tokens. Made once and
/// handed to every ``PKCS11KeyProvider``.
///
/// Modules are not finalised: another part of the process may use the same one, and the process ends soon.
package final class PKCS11Modules: Sendable {
    private let loaded = Guarded<[String: PKCS11Module]>([:])

    package init() {}

    /// Blocks. The others wait meanwhile, for they want the same.
    func module(at path: String, for key: String) throws(PKCS11Error) -> PKCS11Module {
        try loaded.withLock { loaded throws(PKCS11Error) in
            if let module = loaded[path] { return module }
            let module = try PKCS11Module(loading: path, for: key)
            loaded[path] = module
            return module
        }
    }
}

/// One module, loaded and initialised. Its functions may be called from any thread, one at a time.
final class PKCS11Module: @unchecked Sendable {
    let path: String
    let functions: FunctionList
    /// The PIN that each token has refused last, by its label and serial number. Held while a PIN is tried, so that
    /// two tasks cannot try the same wrong one.
    let refusedPINs = Guarded<[String: Secret]>([:])
    /// Held while the module is used. It was told to lock for itself, and not every one does so well: with several
    /// threads in it SoftHSM lost a token for the rest of the process (seen). A set needs a call or two.
    let turn = Guarded(())
    /// It has let a call run into its time limit: the next one would only hold another thread.
    let isStuck = Guarded(false)

    private static let operation = "load the PKCS#11 module"

    init(loading path: String, for key: String) throws(PKCS11Error) {
        self.path = path
        guard !path.hasPrefix("/") || access(path, F_OK) == 0 else {
            throw PKCS11Error(.moduleMissing(path), Self.operation, key: key)
        }
        // A module without its path is looked for where the system's libraries are.
        guard let handle = dlopen(path, RTLD_NOW | RTLD_LOCAL) else {
            throw PKCS11Error(
                path.hasPrefix("/") ? .notAModule(path) : .moduleMissing(path), Self.operation, key: key)
        }
        typealias GetFunctionList = @convention(c) (UnsafeMutablePointer<FunctionList?>?) -> UInt
        var list: FunctionList?
        guard let symbol = dlsym(handle, "C_GetFunctionList"),
            unsafeBitCast(symbol, to: GetFunctionList.self)(&list) == CKR_OK, let list
        else {
            dlclose(handle)
            throw PKCS11Error(.notAModule(path), Self.operation, key: key)
        }
        functions = list
        var arguments = ck_c_initialize_args()
        arguments.flags = UInt(CKF_OS_LOCKING_OK)
        let code = list.pointee.C_Initialize?(&arguments) ?? UInt(CKR_FUNCTION_NOT_SUPPORTED)
        guard code == CKR_OK || code == CKR_CRYPTOKI_ALREADY_INITIALIZED else {
            throw PKCS11Error(.moduleFailed(function: "C_Initialize", code: code), Self.operation, key: key)
        }
    }
}

extension PKCS11URI {
    /// The names under which the module may be loaded: `module-path`, else `module-name` as the file names that RFC
    /// 7512 leaves to the system, else `setting`.
    func modulePaths(setting: String?) -> [String] {
        if let modulePath { return [modulePath] }
        guard let moduleName else { return setting.map { [$0] } ?? [] }
        let files = ["lib\(moduleName).so", "\(moduleName).so", "\(moduleName)-pkcs11.so"]
        // Where p11-kit has modules registered, and a directory of the module's own: `softhsm` for `softhsm2`.
        let family = String(moduleName.reversed().drop { $0.isNumber }.reversed())
        let roots = [
            "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib",
        ]
        let directories = roots.flatMap { root in
            ["pkcs11", moduleName, family].filter { !$0.isEmpty }.map { "\(root)/\($0)" }
        }
        let found = directories.flatMap { directory in files.map { "\(directory)/\($0)" } }
            .first { (path: String) in access(path, R_OK) == 0 }
        return found.map { [$0] } ?? files
    }
}
