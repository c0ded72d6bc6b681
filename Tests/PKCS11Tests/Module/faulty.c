// A PKCS #11 module that hands every call on to SoftHSM, but for what the file beside it, `<module>.fault`, asks for:
// devices that are locked, unplugged, slow or made otherwise than SoftHSM. Compiled by the tests.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <p11-kit-1/p11-kit/pkcs11.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static CK_FUNCTION_LIST faulty;
static CK_FUNCTION_LIST *real;
static char path[4096];

static int is(const char *fault) {
    char name[4200], text[64] = "";
    snprintf(name, sizeof name, "%s.fault", path);
    FILE *file = fopen(name, "r");
    if (file == NULL) return 0;
    if (fgets(text, sizeof text, file) == NULL) text[0] = 0;
    fclose(file);
    return strcmp(text, fault) == 0;
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info) {
    if (is("gone")) return CKR_TOKEN_NOT_PRESENT;
    CK_RV result = real->C_GetTokenInfo(slot, info);
    if (result == CKR_OK && is("locked")) info->flags |= CKF_USER_PIN_LOCKED;
    if (result == CKR_OK && is("last-try")) info->flags |= CKF_USER_PIN_FINAL_TRY;
    if (result == CKR_OK && is("no-pin")) info->flags &= ~CKF_USER_PIN_INITIALIZED;
    if (result == CKR_OK && is("no-random")) info->flags &= ~CKF_RNG;
    return result;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char *pin, CK_ULONG length) {
    char name[4200];
    snprintf(name, sizeof name, "%s.logins", path);
    FILE *file = fopen(name, "a");
    if (file != NULL) {
        fputs("login\n", file);
        fclose(file);
    }
    if (is("wrong")) return CKR_PIN_INCORRECT;
    if (is("locked-by-now")) return CKR_PIN_LOCKED;
    if (is("expired")) return CKR_PIN_EXPIRED;
    return real->C_Login(session, user, pin, length);
}

static CK_RV slot_list(unsigned char present, CK_SLOT_ID *slots, CK_ULONG *count) {
    if (is("stuck")) sleep(15);
    return real->C_GetSlotList(present, slots, count);
}

static CK_RV mechanism_info(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info) {
    if (type == CKM_AES_GCM && is("no-gcm")) return CKR_MECHANISM_INVALID;
    return real->C_GetMechanismInfo(slot, type, info);
}

static CK_RV encrypt_init(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key) {
    if (is("unplugged")) return CKR_DEVICE_REMOVED;
    if (is("broken")) return CKR_DEVICE_ERROR;
    // Some devices choose the nonce and leave it where they were given one.
    if (mechanism->mechanism == CKM_AES_GCM && is("own-nonce"))
        memset(((CK_GCM_PARAMS *)mechanism->pParameter)->iv_ptr, 0x5a, 12);
    return real->C_EncryptInit(session, mechanism, key);
}

static CK_RV decrypt(
    CK_SESSION_HANDLE session, unsigned char *in, CK_ULONG in_length, unsigned char *out, CK_ULONG *out_length
) {
    if (is("unplugged")) return CKR_DEVICE_REMOVED;
    return real->C_Decrypt(session, in, in_length, out, out_length);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list) {
    Dl_info self;
    // A function that no other library can have: the process may have a C_GetFunctionList of its own.
    if (dladdr((void *)token_info, &self) == 0) return CKR_GENERAL_ERROR;
    snprintf(path, sizeof path, "%s", self.dli_fname);
    void *module = dlopen(REAL_MODULE, RTLD_NOW);
    if (module == NULL) return CKR_GENERAL_ERROR;
    CK_RV (*get)(CK_FUNCTION_LIST **) = (CK_RV (*)(CK_FUNCTION_LIST **))dlsym(module, "C_GetFunctionList");
    if (get == NULL || get(&real) != CKR_OK) return CKR_GENERAL_ERROR;
    faulty = *real;
    faulty.C_GetTokenInfo = token_info;
    faulty.C_Login = login;
    faulty.C_GetSlotList = slot_list;
    faulty.C_GetMechanismInfo = mechanism_info;
    faulty.C_EncryptInit = encrypt_init;
    faulty.C_Decrypt = decrypt;
    *list = &faulty;
    return CKR_OK;
}
