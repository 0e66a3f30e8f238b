/* What the parts of the load generator share: load.c measures, session.c speaks XMPP, muc.c and rooms.c
 * have rooms. */
#ifndef LOAD_H
#define LOAD_H

#define _GNU_SOURCE
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SM "urn:xmpp:sm:3"
#define RING 1024  /* messages of one sender that may be on their way at a time */

enum state { CONNECTING, PLAIN_FEATURES, PROCEED, HANDSHAKE, FEATURES, CHALLENGE, SUCCESS, BINDABLE, BINDING, SETUP,
             READY };

struct buffer { char *data; size_t length, capacity; };

struct connection {
    int fd, index;
    enum state state;
    SSL *ssl;
    bool dirty, gone;
    struct buffer in, out;
    size_t scanned, tag;      /* parser: bytes of `in` already looked at, and where the current tag starts */
    int depth;
    bool in_tag;
    char quote;
    char client_first[96], jid[128], server_signature[128];
    int awaited;              /* answers missing before the session is complete */
    double started;
    bool counts_out, counts_in;                 /* XEP-0198: after <enable/> was sent, after <enabled/> came */
    uint32_t stanzas_out, stanzas_in, acked;    /* acked: the last h the server reported */
    uint64_t sent, expected;  /* messages sent to the partner; sequence number next expected from it */
    double *stamps;           /* when each of the last RING messages was due to leave */
    uint32_t *ordinals;       /* which stanza each of them was, for stream management */
    uint64_t confirmed;       /* messages the server has acknowledged */
    long archived;            /* messages in the user's archive; -1 until it was told */
};

struct series { double *values; size_t count, capacity; };

/* CPU seconds: of the server, of the one at the other end of s2s, of the generator itself. */
struct snapshot { double wall, server, user, system, peer, self; uint64_t delivered; };

struct options {
    const char *mode, *address, *domain, *password, *ca, *key_file, *mechanism, *counts;
    const char *peer_address, *peer_domain;  /* where users of odd numbers are, if not where the others are */
    int port, peer_port, concurrency, warmup, pairs, window, senders, first, ack_every, sources;
    bool starttls, sm, carbons, hang_up, one_way;  /* one_way: users of odd numbers are silent */
    double seconds, warmup_seconds, fill_seconds, settle, rate, timeout;
};

extern struct options options;

/* load.c */
extern bool sending, recording;  /* whether arrivals call for new messages, and whether times are recorded */
double now(void);
extern struct series arrivals, receipts;  /* latencies: until a message arrived, until it was acknowledged */
void record(struct series *series, double seconds);
struct snapshot snapshot(void);  /* the server's CPU time so far, and what was delivered */
void print_costs(struct snapshot a, struct snapshot b, double count);
void server_memory(long *rss, long *pss);
__attribute__((noreturn, format(printf, 2, 3))) void fail(const struct connection *c, const char *format, ...);

/* session.c */
extern struct connection **connections;
extern int epoll, ready, iterations_seen;
extern char mechanism_seen[16];
extern uint64_t delivered;
/* What rooms send: presence, messages, and answers to requests with the id "room". Nil: not of interest. */
extern void (*on_room_presence)(struct connection *c, const char *stanza);
extern void (*on_room_message)(struct connection *c, const char *stanza, const char *id, const char *from, bool is_ours);
extern void (*on_room_answer)(struct connection *c);
const char *state_name(const struct connection *c);
void prepare(void);
void turn(int timeout);          /* one turn of the loop, waiting at most so many milliseconds */
void run_for(double seconds);
void log_in(int target);         /* until so many users are logged in */
void log_out(void);              /* in order, so that no server keeps a session for who may come back */
void ask_archive(struct connection *c);  /* how much is in it: `archived` gets the answer */
void send_message(struct connection *c, double due);
bool attribute(const char *stanza, const char *name, char *out, size_t capacity);
int message_id(char *out, size_t capacity, int sender, uint64_t sequence);
__attribute__((format(printf, 2, 3))) void say(struct connection *c, const char *format, ...);

/* muc.c, rooms.c */
bool muc_mode(void);  /* false: nobody waits until the server has closed the streams in order */
void rooms_mode(bool makes);  /* makes rooms, or else asks them */

#endif
