#ifndef MARTLET_CRESOLV_SHIM_H
#define MARTLET_CRESOLV_SHIM_H

// Declared here rather than included from <resolv.h> and <netdb.h>: those drag in <sys/socket.h>, whose declarations
// Swift would then take for this module's. Both functions are part of glibc's stable interface (2.34 and later).
extern int res_query(const char *name, int class, int type, unsigned char *answer, int capacity);
extern int *__h_errno_location(void);

/// Asks the system's name servers for records of a type in class IN. Returns the length of the answer, or -1.
static inline int martlet_resolver_query(const char *name, int type, unsigned char *answer, int capacity) {
    return res_query(name, 1, type, answer, capacity);
}

/// Whether this thread's last query failed because there is no such name (1) or no such record (4), after which it
/// makes no sense to ask again. netdb(3)
static inline int martlet_resolver_says_absent(void) {
    return *__h_errno_location() == 1 || *__h_errno_location() == 4;
}

#endif
