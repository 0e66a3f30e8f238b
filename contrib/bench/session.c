/* Many XMPP sessions in one epoll loop: TLS, SASL, stanzas in and out, and the checks on everything that arrives. */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

struct keys { char mechanism[16], salt[128]; int iterations; unsigned char client[32], server[32]; };

struct connection **connections;
int epoll, ready, iterations_seen;
char mechanism_seen[16];
uint64_t delivered;
void (*on_room_presence)(struct connection *c, const char *stanza);
void (*on_room_message)(struct connection *c, const char *stanza, const char *id, const char *from, bool is_ours);
void (*on_room_answer)(struct connection *c);
static struct connection **dirty;
static int opened, dirty_count;
static SSL_CTX *tls;
static double deadline;
static uint32_t run_id;
static bool leaving;
static int gone;
static struct keys *key_cache;
static size_t key_count;
static FILE *key_output;

const char *state_name(const struct connection *c) {
    static const char *const names[] = {
        "connecting", "awaiting features before TLS", "awaiting proceed", "in the TLS handshake",
        "awaiting SASL features", "awaiting the SASL challenge", "awaiting the SASL outcome",
        "awaiting bind features", "binding", "awaiting roster, own presence, carbons, stream management", "ready"};
    return names[c->state];
}

/* Where a user is at home: with a peer, those of odd numbers are there, and so every pair has an end on each server. */
static bool is_remote(const struct connection *c) { return options.peer_domain && c->index & 1; }

static const char *domain(const struct connection *c) { return is_remote(c) ? options.peer_domain : options.domain; }

static bool is_silent(const struct connection *c) { return options.one_way && c->index & 1; }

static void append(struct buffer *b, const char *data, size_t length) {
    if (b->length + length > b->capacity) {
        b->capacity = (b->length + length) * 2;
        if (!(b->data = realloc(b->data, b->capacity))) fail(NULL, "out of memory");
    }
    memcpy(b->data + b->length, data, length);
    b->length += length;
}

/* --- Output. What is written in one turn of the loop leaves in one flush. --- */

static void touch(struct connection *c) {
    if (c->dirty) return;
    c->dirty = true;
    dirty[dirty_count++] = c;
}

void say(struct connection *c, const char *format, ...) {
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length >= (int)sizeof text) fail(c, "stanza too long");
    append(&c->out, text, length);
    if (c->counts_out && (text[1] == 'm' || text[1] == 'i' || text[1] == 'p')) c->stanzas_out++;
    touch(c);
}

static void open_stream(struct connection *c) {
    c->depth = 0;
    say(c, "<?xml version='1.0'?><stream:stream to='%s' version='1.0' xmlns='jabber:client' "
        "xmlns:stream='http://etherx.jabber.org/streams'>", domain(c));
}

static void flush(struct connection *c) {
    size_t done = 0;
    while (done < c->out.length) {
        const char *data = c->out.data + done;
        size_t length = c->out.length - done, written = 0;
        if (c->ssl) {
            if (SSL_write_ex(c->ssl, data, length, &written) != 1) {
                if (SSL_get_error(c->ssl, 0) == SSL_ERROR_WANT_WRITE || leaving) break;
                fail(c, "TLS write failed");
            }
        } else {
            ssize_t n = send(c->fd, data, length, MSG_NOSIGNAL);
            if (n < 0 && errno == EAGAIN) break;
            if (n < 0) fail(c, "write failed: %s", strerror(errno));
            written = n;
        }
        done += written;
    }
    if (done) memmove(c->out.data, c->out.data + done, c->out.length -= done);
}

/* --- SCRAM, RFC 5802. Salted keys are remembered, so that the client's key derivation limits no login rate. --- */

static void derive(const char *mechanism, const char *salt64, int iterations, struct keys *keys) {
    const EVP_MD *hash = strstr(mechanism, "256") ? EVP_sha256() : EVP_sha1();
    int size = EVP_MD_get_size(hash);
    for (size_t i = 0; i < key_count; i++)
        if (key_cache[i].iterations == iterations && !strcmp(key_cache[i].salt, salt64)
            && !strcmp(key_cache[i].mechanism, mechanism)) { *keys = key_cache[i]; return; }
    unsigned char salt[128], salted[32];
    int salt_length = EVP_DecodeBlock(salt, (const unsigned char *)salt64, strlen(salt64));
    for (const char *p = salt64 + strlen(salt64); p > salt64 && p[-1] == '='; p--) salt_length--;
    if (salt_length <= 0) fail(NULL, "bad salt %s", salt64);
    PKCS5_PBKDF2_HMAC(options.password, -1, salt, salt_length, iterations, hash, size, salted);
    memset(keys, 0, sizeof *keys);
    snprintf(keys->mechanism, sizeof keys->mechanism, "%s", mechanism);
    snprintf(keys->salt, sizeof keys->salt, "%s", salt64);
    keys->iterations = iterations;
    HMAC(hash, salted, size, (const unsigned char *)"Client Key", 10, keys->client, NULL);
    HMAC(hash, salted, size, (const unsigned char *)"Server Key", 10, keys->server, NULL);
    key_cache = realloc(key_cache, (key_count + 1) * sizeof *key_cache);
    key_cache[key_count++] = *keys;
    if (key_output) fwrite(keys, sizeof *keys, 1, key_output);
}

static void authenticate(struct connection *c, const char *features) {
    const char *mechanism = options.mechanism;
    if (!mechanism && strstr(features, ">SCRAM-SHA-256<")) mechanism = "SCRAM-SHA-256";
    if (!mechanism && strstr(features, ">SCRAM-SHA-1<")) mechanism = "SCRAM-SHA-1";
    if (!mechanism) fail(c, "no SCRAM-SHA-1 or -256 offered: %s", features);
    snprintf(mechanism_seen, sizeof mechanism_seen, "%s", mechanism);
    unsigned char random[18], nonce[32], first[160];
    RAND_bytes(random, sizeof random);
    EVP_EncodeBlock(nonce, random, sizeof random);
    snprintf(c->client_first, sizeof c->client_first, "n=u%d,r=%s", c->index, nonce);
    char full[128];
    int length = snprintf(full, sizeof full, "n,,%s", c->client_first);
    EVP_EncodeBlock(first, (unsigned char *)full, length);
    say(c, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='%s'>%s</auth>", mechanism, first);
    c->state = CHALLENGE;
}

static int decode_text(const char *stanza, char *out, size_t capacity) {
    const char *start = strchr(stanza, '>') + 1, *end = strstr(start, "</");
    if (!end || (size_t)(end - start) >= capacity) return -1;
    int length = EVP_DecodeBlock((unsigned char *)out, (const unsigned char *)start, end - start);
    for (const char *p = end; length > 0 && p > start && p[-1] == '='; p--) length--;
    if (length >= 0) out[length] = 0;
    return length;
}

static void answer_challenge(struct connection *c, const char *stanza) {
    char server_first[512], copy[512], message[1024], final[256], response[512];
    if (strncmp(stanza, "<challenge", 10) || decode_text(stanza, server_first, sizeof server_first) < 0)
        fail(c, "no SCRAM challenge: %s", stanza);
    char *nonce = NULL, *salt = NULL, *saved = NULL;
    int iterations = 0;
    strcpy(copy, server_first);
    for (char *part = strtok_r(copy, ",", &saved); part; part = strtok_r(NULL, ",", &saved)) {
        if (!strncmp(part, "r=", 2)) nonce = part + 2;
        if (!strncmp(part, "s=", 2)) salt = part + 2;
        if (!strncmp(part, "i=", 2)) iterations = atoi(part + 2);
    }
    const char *own_nonce = strstr(c->client_first, ",r=") + 3;
    if (!nonce || !salt || iterations < 1 || strncmp(nonce, own_nonce, strlen(own_nonce)) || strlen(salt) > 120)
        fail(c, "bad SCRAM challenge: %s", server_first);
    iterations_seen = iterations;
    struct keys keys;
    derive(mechanism_seen, salt, iterations, &keys);
    const EVP_MD *hash = strstr(mechanism_seen, "256") ? EVP_sha256() : EVP_sha1();
    int size = EVP_MD_get_size(hash);
    unsigned char stored[32], proof[32], signature[32], proof64[64];
    EVP_Digest(keys.client, size, stored, NULL, hash, NULL);
    snprintf(final, sizeof final, "c=biws,r=%s", nonce);
    int length = snprintf(message, sizeof message, "%s,%s,%s", c->client_first, server_first, final);
    HMAC(hash, stored, size, (unsigned char *)message, length, proof, NULL);
    for (int i = 0; i < size; i++) proof[i] ^= keys.client[i];
    HMAC(hash, keys.server, size, (unsigned char *)message, length, signature, NULL);
    EVP_EncodeBlock((unsigned char *)c->server_signature, signature, size);
    EVP_EncodeBlock(proof64, proof, size);
    length = snprintf(message, sizeof message, "%s,p=%s", final, proof64);
    EVP_EncodeBlock((unsigned char *)response, (unsigned char *)message, length);
    say(c, "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>%s</response>", response);
    c->state = SUCCESS;
}

/* --- Messages, as a client would write them: about 340 bytes. --- */

int message_id(char *out, size_t capacity, int sender, uint64_t sequence) {
    return snprintf(out, capacity, "%08x-%04x-4000-8000-%012llx", run_id, sender & 0xffff,
                    (unsigned long long)sequence);
}

static int message_body(char *out, size_t capacity, int sender, uint64_t sequence) {
    return snprintf(out, capacity, "<body>%d/%llu: Grüße &amp; see you at the usual place</body>", sender,
                    (unsigned long long)sequence);
}

void send_message(struct connection *c, double due) {
    struct connection *partner = connections[c->index ^ 1];
    if (c->sent - partner->expected >= RING || (options.sm && c->sent - c->confirmed >= RING))
        fail(c, "the server fell %d messages behind", RING);
    char id[48], body[128];
    message_id(id, sizeof id, c->index, c->sent);
    message_body(body, sizeof body, c->index, c->sent);
    c->stamps[c->sent % RING] = due;
    say(c, "<message to='u%d@%s' id='%s' type='chat'>%s<active xmlns='http://jabber.org/protocol/chatstates'/>"
        "<request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='%s'/></message>",
        partner->index, domain(partner), id, body, id);
    c->ordinals[c->sent++ % RING] = c->stanzas_out;
    if (options.sm && c->sent % options.ack_every == 0) say(c, "<r xmlns='" SM "'/>");
}

bool attribute(const char *stanza, const char *name, char *out, size_t capacity) {
    size_t name_length = strlen(name);
    const char *p = stanza + strcspn(stanza, " \t\r\n/>");
    while (*p) {
        p += strspn(p, " \t\r\n");
        const char *equals = p + strcspn(p, "=>/");
        if (*equals != '=') return false;
        char quote = equals[1];
        const char *end = quote ? strchr(equals + 2, quote) : NULL;
        if (!end) return false;
        if ((size_t)(equals - p) == name_length && !memcmp(p, name, name_length)) {
            if ((size_t)(end - equals - 2) >= capacity) return false;
            memcpy(out, equals + 2, end - equals - 2);
            out[end - equals - 2] = 0;
            return true;
        }
        p = end + 1;
    }
    return false;
}

static void received_message(struct connection *c, const char *stanza) {
    char id[64] = "", from[160] = "", type[16] = "", expected_id[64], body[128], run[16];
    attribute(stanza, "type", type, sizeof type);
    if (!strcmp(type, "error")) fail(c, "a message bounced: %s", stanza);
    attribute(stanza, "id", id, sizeof id);
    attribute(stanza, "from", from, sizeof from);
    snprintf(run, sizeof run, "%08x-", run_id);
    bool is_ours = !strncmp(id, run, strlen(run));
    if (!strcmp(type, "groupchat") && on_room_message) return on_room_message(c, stanza, id, from, is_ours);
    if (!is_ours) return;  /* the server's own news; one of ours would be missed in the end */
    struct connection *sender = connections[c->index ^ 1];
    uint64_t sequence = c->expected;
    message_id(expected_id, sizeof expected_id, sender->index, sequence);
    if (strcmp(id, expected_id))
        fail(c, "message lost, doubled or out of order: expected id %s, got %s", expected_id, stanza);
    message_body(body, sizeof body, sender->index, sequence);
    const char *origin = strstr(stanza, "<origin-id");
    if (strcmp(from, sender->jid) || !strstr(stanza, body) || !strstr(stanza, "<active ")
        || !strstr(stanza, "<request ") || !origin || !strstr(origin, expected_id))
        fail(c, "message changed on its way, sender %s: %s", sender->jid, stanza);
    c->expected++;
    delivered++;
    double time = now();
    if (recording) record(&arrivals, time - sender->stamps[sequence % RING]);
    if (sending && options.rate == 0 && !is_silent(sender))
        while (sender->sent - c->expected < (uint64_t)options.window) send_message(sender, time);
}

/* --- Streams: what comes in, stanza by stanza. --- */

static void start_tls(struct connection *c) {
    c->ssl = SSL_new(tls);
    SSL_set_fd(c->ssl, c->fd);
    SSL_set_tlsext_host_name(c->ssl, domain(c));
    SSL_set1_host(c->ssl, domain(c));
    SSL_set_connect_state(c->ssl);
    c->state = HANDSHAKE;
}

static void arrived(struct connection *c) {
    if (--c->awaited) return;
    c->state = READY;
    ready++;
    if (recording) record(&arrivals, now() - c->started);
}

static bool is(const char *stanza, const char *name) {
    size_t length = strlen(name);
    return !strncmp(stanza + 1, name, length) && strchr(" \t\r\n/>", stanza[1 + length]);
}

static void set_up(struct connection *c, const char *result) {
    const char *jid = strstr(result, "<jid>"), *end = jid ? strstr(jid, "</jid>") : NULL;
    if (!jid || (size_t)(end - jid - 5) >= sizeof c->jid) fail(c, "binding failed: %s", result);
    memcpy(c->jid, jid + 5, end - jid - 5);
    c->awaited = 2;
    if (options.sm) {
        c->awaited++;
        say(c, "<enable xmlns='" SM "' resume='true'/>");
        c->counts_out = true;
    }
    say(c, "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>");
    if (options.carbons) {
        c->awaited++;
        say(c, "<iq type='set' id='carbons'><enable xmlns='urn:xmpp:carbons:2'/></iq>");
    }
    say(c, "<presence/>");
    c->state = SETUP;
}

static void received_ack(struct connection *c, const char *stanza) {
    char text[16];
    if (!attribute(stanza, "h", text, sizeof text)) fail(c, "an ack without h: %s", stanza);
    uint32_t h = strtoul(text, NULL, 10);
    if (h < c->acked || h > c->stanzas_out)
        fail(c, "ack h='%u' after h='%u' with %u stanzas sent", h, c->acked, c->stanzas_out);
    c->acked = h;
    for (double time = now(); c->confirmed < c->sent && c->ordinals[c->confirmed % RING] <= h; c->confirmed++)
        if (recording) record(&receipts, time - c->stamps[c->confirmed % RING]);
}

/* --- The archive, XEP-0313: how much is in it. A page of nothing has a count, XEP-0059 §2.7. --- */

void ask_archive(struct connection *c) {
    c->archived = -1;
    say(c, "<iq type='set' id='archive'><query xmlns='urn:xmpp:mam:2'>"
        "<set xmlns='http://jabber.org/protocol/rsm'><max>0</max></set></query></iq>");
}

static void received_count(struct connection *c, const char *stanza) {
    const char *count = strstr(stanza, "<count>");
    if (!count) fail(c, "the archive gives no count: %s", stanza);
    c->archived = strtol(count + 7, NULL, 10);
}

static void received_iq(struct connection *c, const char *stanza) {
    char type[16] = "", id[128] = "", from[160] = "";
    attribute(stanza, "type", type, sizeof type);
    attribute(stanza, "id", id, sizeof id);
    if (!strcmp(type, "error") && !strcmp(id, "carbons")) {
        options.carbons = false;
        return arrived(c);
    }
    if (!strcmp(type, "error")) fail(c, "an IQ failed: %s", stanza);
    if (!strcmp(type, "get") || !strcmp(type, "set")) {
        char to[176] = "";
        if (attribute(stanza, "from", from, sizeof from)) snprintf(to, sizeof to, " to='%s'", from);
        say(c, "<iq type='error' id='%s'%s><error type='cancel'>"
            "<service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>", id, to);
    } else if (c->state == BINDING && !strcmp(id, "bind")) set_up(c, stanza);
    else if (!strcmp(id, "archive")) received_count(c, stanza);
    else if (!strcmp(id, "room")) on_room_answer(c);
    else if (c->state == SETUP && (!strcmp(id, "roster") || !strcmp(id, "carbons"))) arrived(c);
}

static void received(struct connection *c, const char *stanza) {
    char from[160];
    if (c->counts_in && (is(stanza, "message") || is(stanza, "iq") || is(stanza, "presence"))) c->stanzas_in++;
    if (is(stanza, "stream:error") || is(stanza, "failure") || is(stanza, "failed"))
        fail(c, "the server refused: %s", stanza);
    switch (c->state) {
    case PLAIN_FEATURES:
        say(c, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        c->state = PROCEED;
        return;
    case PROCEED:
        if (!is(stanza, "proceed")) fail(c, "no TLS: %s", stanza);
        start_tls(c);
        return;
    case FEATURES: authenticate(c, stanza); return;
    case CHALLENGE: answer_challenge(c, stanza); return;
    case SUCCESS: {
        char verifier[256];
        if (!is(stanza, "success") || decode_text(stanza, verifier, sizeof verifier) < 2
            || strcmp(verifier + 2, c->server_signature)) fail(c, "wrong server signature: %s", stanza);
        open_stream(c);
        c->state = BINDABLE;
        return;
    }
    case BINDABLE:
        say(c, "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
            "<resource>bench</resource></bind></iq>");
        if (options.sm && !strstr(stanza, SM)) options.sm = false;  // Not offered: measured without, and reported so.
        c->state = BINDING;
        return;
    default: break;
    }
    if (is(stanza, "message")) received_message(c, stanza);
    else if (is(stanza, "r")) say(c, "<a xmlns='" SM "' h='%u'/>", c->stanzas_in);
    else if (is(stanza, "a")) received_ack(c, stanza);
    else if (is(stanza, "iq")) received_iq(c, stanza);
    else if (is(stanza, "enabled")) { c->counts_in = true; arrived(c); }
    else if (is(stanza, "presence") && c->state == SETUP && attribute(stanza, "from", from, sizeof from)
             && !strcmp(from, c->jid)) arrived(c);
    else if (is(stanza, "presence") && on_room_presence) on_room_presence(c, stanza);
}

static void leave(struct connection *c) {
    if (c->gone) return;
    c->gone = true;
    gone++;
    epoll_ctl(epoll, EPOLL_CTL_DEL, c->fd, NULL);
}

/* Splits the stream into stanzas: depth, tags and quotes are all that needs to be known. Returns the bytes used up. */
static size_t split(struct connection *c, char *data, size_t length) {
    size_t used = 0, p = c->scanned;
    while (p < length) {
        if (!c->in_tag) {
            char *open = memchr(data + p, '<', length - p);
            p = open ? (size_t)(open - data) : length;
            if (c->depth <= 1) used = p;
            if (!open) break;
            c->in_tag = true;
            c->tag = p++;
            continue;
        }
        char byte = data[p++];
        if (c->quote) {
            if (byte == c->quote) c->quote = 0;
        } else if (byte == '"' || byte == '\'') c->quote = byte;
        else if (byte == '>') {
            c->in_tag = false;
            char first = data[c->tag + 1];
            if (first == '!') fail(c, "a comment or DTD in the stream");
            if (first == '?') continue;
            bool closes = first == '/' || data[p - 2] == '/';
            if (first != '/' && c->depth++ == 0) continue;
            if (!closes || --c->depth > 1) continue;
            if (c->depth == 0 && !leaving) fail(c, "the server closed the stream");
            if (c->depth == 0) { leave(c); return length; }
            char next = data[p];
            data[p] = 0;  /* buffers have a byte to spare */
            received(c, data + used);
            data[p] = next;
            used = p;
        }
    }
    c->scanned = p - used;
    c->tag -= used;
    return used;
}

static void feed(struct connection *c, char *data, size_t length) {
    if (!c->in.length) {
        size_t used = split(c, data, length);
        if (used < length) append(&c->in, data + used, length - used);
        return;
    }
    append(&c->in, data, length);
    append(&c->in, "", 1);
    c->in.length--;
    size_t used = split(c, c->in.data, c->in.length);
    memmove(c->in.data, c->in.data + used, c->in.length -= used);
}

static void input(struct connection *c) {
    static char data[65536 + 1];
    while (!c->gone) {
        size_t length = 0;
        if (c->ssl) {
            if (SSL_read_ex(c->ssl, data, sizeof data - 1, &length) != 1) {
                int error = SSL_get_error(c->ssl, 0);
                if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return;
                if (leaving) return leave(c);
                fail(c, "TLS connection lost");
            }
        } else {
            ssize_t n = recv(c->fd, data, sizeof data - 1, 0);
            if (n < 0 && errno == EAGAIN) return;
            if (n <= 0) fail(c, "connection lost: %s", n ? strerror(errno) : "closed");
            length = n;
        }
        feed(c, data, length);
        if (c->state == HANDSHAKE) return;
    }
}

static void progress(struct connection *c) {
    if (c->state == CONNECTING) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) fail(c, "cannot connect: %s", strerror(error));
        if (options.starttls) { c->state = PLAIN_FEATURES; open_stream(c); } else start_tls(c);
    }
    if (c->state != HANDSHAKE) input(c);
    if (c->state == HANDSHAKE) {
        int result = SSL_do_handshake(c->ssl);
        if (result == 1) {
            c->state = FEATURES;
            open_stream(c);
            input(c);
        } else {
            int error = SSL_get_error(c->ssl, result);
            if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) fail(c, "TLS handshake failed");
        }
    }
    if (c->out.length) touch(c);
}

static void connect_user(int index) {
    struct connection *c = connections[index] = calloc(1, sizeof *c);
    c->index = index;
    c->started = now();
    if (strcmp(options.mode, "login")) {
        c->stamps = calloc(RING, sizeof *c->stamps);
        c->ordinals = calloc(RING, sizeof *c->ordinals);
    }
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0) fail(c, "no socket: %s", strerror(errno));
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    /* Many source addresses: neither ports nor a server's limit of connections per address run short. */
    struct sockaddr_in from = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(0x7f000101 + (uint32_t)(index % options.sources))};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(is_remote(c) ? options.peer_port : options.port)};
    inet_pton(AF_INET, is_remote(c) ? options.peer_address : options.address, &to.sin_addr);
    if (bind(c->fd, (struct sockaddr *)&from, sizeof from)) fail(c, "cannot bind: %s", strerror(errno));
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        fail(c, "cannot connect: %s", strerror(errno));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
}

/* One turn of the loop: one flush for each connection that has something to say, then events. */
void turn(int timeout) {
    struct epoll_event events[256];
    int unflushed = dirty_count;
    dirty_count = 0;
    for (int i = 0; i < unflushed; i++) {
        dirty[i]->dirty = false;
        if (!dirty[i]->gone && dirty[i]->state != CONNECTING && dirty[i]->state != HANDSHAKE) flush(dirty[i]);
    }
    int count = epoll_wait(epoll, events, 256, timeout);
    for (int i = 0; i < count; i++)
        if (events[i].data.ptr) progress(events[i].data.ptr);
    if (now() > deadline) {
        for (int i = 0; i < opened; i++)
            if (connections[i]->state != READY) fail(connections[i], "out of time, %d of %d ready", ready, opened);
        fail(NULL, "out of time with %d ready", ready);
    }
}

void run_for(double seconds) {
    for (double end = now() + seconds, left; (left = end - now()) > 0;) turn(left < 0.02 ? 1 : 10);
}

void log_in(int target) {
    while (ready < target) {
        while (opened < target && opened - ready < options.concurrency) connect_user(opened++);
        turn(100);
    }
}

void log_out(void) {
    leaving = true;
    for (int i = 0; i < opened; i++) {
        append(&connections[i]->out, "</stream:stream>", 16);
        touch(connections[i]);
    }
    for (double end = now() + 30; gone < opened; turn(100))
        if (now() > end) fail(NULL, "%d of %d streams were not closed", opened - gone, opened);
}

void prepare(void) {
    int users = options.pairs * 2;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (const char *p = strstr(options.mode, "-rooms") ? NULL : options.counts; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if (atoi(p) > users) users = atoi(p);
    if (options.warmup > users) users = options.warmup;
    if ((rlim_t)users + 50 > files.rlim_cur) fail(NULL, "%d connections need a higher ulimit -n", users);
    connections = calloc(users, sizeof *connections);
    dirty = calloc(users, sizeof *dirty);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    deadline = now() + options.timeout;
    RAND_bytes((unsigned char *)&run_id, sizeof run_id);
    tls = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(tls, 1);
    SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
                     | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (options.ca) {
        if (!SSL_CTX_load_verify_locations(tls, options.ca, NULL)) fail(NULL, "cannot read %s", options.ca);
        SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
    }
    if (!options.key_file) return;
    struct keys keys;
    key_output = fopen(options.key_file, "a+b");
    if (!key_output) fail(NULL, "cannot open %s", options.key_file);
    while (fread(&keys, sizeof keys, 1, key_output) == 1) {
        key_cache = realloc(key_cache, (key_count + 1) * sizeof *key_cache);
        key_cache[key_count++] = keys;
    }
}
