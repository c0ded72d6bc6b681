// The header only: the module of the device itself is loaded at run time.
#include <p11-kit-1/p11-kit/pkcs11.h>
