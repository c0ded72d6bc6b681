// The header only: the module of the device itself is loaded at run time. Its own names, without the aliases that are
// macros and so do not reach Swift.
#define CRYPTOKI_GNU 1
#include <p11-kit-1/p11-kit/pkcs11.h>
