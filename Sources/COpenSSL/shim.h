// What Swift cannot import from OpenSSL by itself (function-like macros, casts in constants, variadic functions),
// one line each under the prefix `copenssl_`, and the memory BIO through which TLS bytes enter and leave.

#ifndef MARTLET_COPENSSL_SHIM_H
#define MARTLET_COPENSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/objects.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

// Contexts

static const uint64_t COPENSSL_SERVER_OPTIONS =
    SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;
static const uint64_t COPENSSL_CLIENT_OPTIONS = SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION;
static const uint64_t COPENSSL_OP_NO_TICKET = SSL_OP_NO_TICKET;

static inline int copenssl_ctx_set_versions(SSL_CTX *ctx, int lowest, int highest) {
    return SSL_CTX_set_min_proto_version(ctx, lowest) && SSL_CTX_set_max_proto_version(ctx, highest);
}

// Idle connections give their record buffers back; writes take what fits; reads return after one record.
static inline void copenssl_ctx_set_lean_modes(SSL_CTX *ctx) {
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE
                              | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
}

static inline void copenssl_ctx_disable_session_cache(SSL_CTX *ctx) {
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
}

static inline int copenssl_ctx_set_groups(SSL_CTX *ctx, const char *list) {
    return (int)SSL_CTX_set1_groups_list(ctx, (char *)list);
}

static inline int copenssl_ctx_add_chain_certificate(SSL_CTX *ctx, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(ctx, certificate);
}

static inline void copenssl_ctx_set_servername_callback(SSL_CTX *ctx, int (*callback)(SSL *, int *, void *)) {
    SSL_CTX_set_tlsext_servername_callback(ctx, callback);
}

typedef int (*copenssl_ticket_callback)(SSL *, unsigned char *, unsigned char *, EVP_CIPHER_CTX *, EVP_MAC_CTX *, int);

static inline void copenssl_ctx_set_ticket_callback(SSL_CTX *ctx, copenssl_ticket_callback callback) {
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, callback);
}

// Keys a ticket with AES-256-CBC and HMAC-SHA-256, the construction of RFC 5077 section 4.
static inline int copenssl_key_ticket(EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, const unsigned char *cipher_key,
                                      const unsigned char *mac_key, const unsigned char *iv, int encrypt) {
    char digest[] = "SHA256";
    OSSL_PARAM parameters[3];
    parameters[0] = OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)mac_key, 32);
    parameters[1] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
    parameters[2] = OSSL_PARAM_construct_end();
    return EVP_MAC_CTX_set_params(mac, parameters)
        && EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, cipher_key, iv, encrypt);
}

// Connections

static inline int copenssl_set_server_name(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, (char *)name);
}

static inline int copenssl_has_extended_master_secret(SSL *ssl) { return (int)SSL_get_extms_support(ssl); }

static inline void copenssl_set_owner(SSL *ssl, void *owner) { SSL_set_app_data(ssl, owner); }

static inline void *copenssl_owner(const SSL *ssl) { return SSL_get_app_data(ssl); }

// Certificates

static inline int copenssl_certificates_count(const STACK_OF(X509) *stack) {
    return stack == NULL ? 0 : sk_X509_num(stack);
}

static inline X509 *copenssl_certificates_at(const STACK_OF(X509) *stack, int index) {
    return sk_X509_value(stack, index);
}

static inline STACK_OF(X509) *copenssl_certificates_new(void) { return sk_X509_new_null(); }

// Adds a reference of the stack's own.
static inline int copenssl_certificates_append(STACK_OF(X509) *stack, X509 *certificate) {
    if (!X509_up_ref(certificate)) return 0;
    if (sk_X509_push(stack, certificate) > 0) return 1;
    X509_free(certificate);
    return 0;
}

static inline void copenssl_certificates_free(STACK_OF(X509) *stack) { sk_X509_pop_free(stack, X509_free); }

static const unsigned long COPENSSL_NAME_RFC2253 = XN_FLAG_RFC2253;

// The dNSNames of a certificate: calls back with each (not terminated by a zero byte).
static inline void copenssl_each_dns_name(const X509 *certificate, void *to,
                                          void (*callback)(void *, const unsigned char *, int)) {
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (names == NULL) return;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS) continue;
        callback(to, ASN1_STRING_get0_data(name->d.dNSName), ASN1_STRING_length(name->d.dNSName));
    }
    GENERAL_NAMES_free(names);
}

// The XMPP names of a certificate, SRV-IDs (RFC 4985) and XmppAddrs (RFC 6120 section 13.7.1.4), by the NID of their
// kind: calls back with each that is a string of the right type (not terminated by a zero byte).
static inline void copenssl_each_other_name(const X509 *certificate, void *to,
                                            void (*callback)(void *, int, const unsigned char *, int)) {
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    if (names == NULL) return;
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_OTHERNAME) continue;
        int kind = OBJ_obj2nid(name->d.otherName->type_id);
        const ASN1_TYPE *value = name->d.otherName->value;
        if (value == NULL || !((kind == NID_SRVName && value->type == V_ASN1_IA5STRING)
                               || (kind == NID_XmppAddr && value->type == V_ASN1_UTF8STRING))) continue;
        callback(to, kind, ASN1_STRING_get0_data(value->value.asn1_string),
                 ASN1_STRING_length(value->value.asn1_string));
    }
    GENERAL_NAMES_free(names);
}

// The certificates a context presents beside its own.
static inline STACK_OF(X509) *copenssl_ctx_chain_certificates(SSL_CTX *ctx) {
    STACK_OF(X509) *chain = NULL;
    SSL_CTX_get0_chain_certs(ctx, &chain);
    return chain;
}

static inline EVP_PKEY *copenssl_generate_p256_key(void) { return EVP_EC_gen("P-256"); }

static inline X509_EXTENSION *copenssl_extension(X509 *certificate, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    return X509V3_EXT_conf_nid(NULL, &context, nid, value);
}

static inline long copenssl_memory_bio_contents(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }

// The memory BIO: reads where the received bytes already lie, writes to a buffer that all connections of one thread
// share. It owns neither, and the connection that is being worked on lends it both for the time of one call.

typedef struct {
    const unsigned char *input;
    size_t input_left;
    unsigned char *output;
    size_t output_used;
    size_t output_size;
} copenssl_io;

static inline int copenssl_io_read(BIO *bio, char *bytes, size_t wanted, size_t *got) {
    copenssl_io *io = (copenssl_io *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *got = 0;
    if (io == NULL) return 0;
    if (io->input_left == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t count = wanted < io->input_left ? wanted : io->input_left;
    memcpy(bytes, io->input, count);
    io->input += count;
    io->input_left -= count;
    *got = count;
    return 1;
}

static inline int copenssl_io_write(BIO *bio, const char *bytes, size_t count, size_t *written) {
    copenssl_io *io = (copenssl_io *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *written = 0;
    if (io == NULL) return 0;
    if (io->output_size - io->output_used < count) {
        size_t size = (io->output_used + count) * 2;
        unsigned char *output = (unsigned char *)realloc(io->output, size);
        if (output == NULL) return 0;
        io->output = output;
        io->output_size = size;
    }
    memcpy(io->output + io->output_used, bytes, count);
    io->output_used += count;
    *written = count;
    return 1;
}

static inline long copenssl_io_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static inline int copenssl_io_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

// The method table all connections share; NULL when memory is short.
static inline BIO_METHOD *copenssl_io_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lent memory");
    if (method == NULL) return NULL;
    if (BIO_meth_set_read_ex(method, copenssl_io_read) && BIO_meth_set_write_ex(method, copenssl_io_write)
        && BIO_meth_set_ctrl(method, copenssl_io_ctrl) && BIO_meth_set_create(method, copenssl_io_create))
        return method;
    BIO_meth_free(method);
    return NULL;
}


/// PBKDF2 with HMAC (RFC 8018 §5.2), one block of SHA-1 or SHA-256. OpenSSL's own copies two contexts for every
/// iteration; here the compression function runs on the two states that the key leaves behind, which halves the time.
/// The functions are deprecated in favour of ones that cannot do this; they hold no state but what is passed.
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wdeprecated-declarations"

static inline void copenssl_put32(unsigned char *out, unsigned int value) {
    out[0] = (unsigned char)(value >> 24);
    out[1] = (unsigned char)(value >> 16);
    out[2] = (unsigned char)(value >> 8);
    out[3] = (unsigned char)value;
}

/// A message block with `count` digest words in front, padded as the second block of a message.
static inline void copenssl_pad(unsigned char block[64], int count) {
    memset(block, 0, 64);
    block[count] = 0x80;
    copenssl_put32(block + 60, (64 + (unsigned int)count) * 8);
}

static inline int copenssl_pbkdf2_sha256(
    const unsigned char key[64], unsigned char digest[32], int iterations) {
    SHA256_CTX inner, outer, state;
    unsigned char pad[64], block[64];
    for (int i = 0; i < 64; i++) pad[i] = key[i] ^ 0x36;
    SHA256_Init(&inner);
    SHA256_Transform(&inner, pad);
    for (int i = 0; i < 64; i++) pad[i] = key[i] ^ 0x5c;
    SHA256_Init(&outer);
    SHA256_Transform(&outer, pad);
    copenssl_pad(block, 32);
    memcpy(block, digest, 32);
    for (int n = 1; n < iterations; n++) {
        state = inner;
        SHA256_Transform(&state, block);
        for (int i = 0; i < 8; i++) copenssl_put32(block + 4 * i, state.h[i]);
        state = outer;
        SHA256_Transform(&state, block);
        for (int i = 0; i < 8; i++) copenssl_put32(block + 4 * i, state.h[i]);
        for (int i = 0; i < 32; i++) digest[i] ^= block[i];
    }
    OPENSSL_cleanse(pad, sizeof pad);
    OPENSSL_cleanse(block, sizeof block);
    return 1;
}

static inline void copenssl_put_sha1(unsigned char *out, const SHA_CTX *state) {
    copenssl_put32(out, state->h0);
    copenssl_put32(out + 4, state->h1);
    copenssl_put32(out + 8, state->h2);
    copenssl_put32(out + 12, state->h3);
    copenssl_put32(out + 16, state->h4);
}

static inline int copenssl_pbkdf2_sha1(
    const unsigned char key[64], unsigned char digest[20], int iterations) {
    SHA_CTX inner, outer, state;
    unsigned char pad[64], block[64];
    for (int i = 0; i < 64; i++) pad[i] = key[i] ^ 0x36;
    SHA1_Init(&inner);
    SHA1_Transform(&inner, pad);
    for (int i = 0; i < 64; i++) pad[i] = key[i] ^ 0x5c;
    SHA1_Init(&outer);
    SHA1_Transform(&outer, pad);
    copenssl_pad(block, 20);
    memcpy(block, digest, 20);
    for (int n = 1; n < iterations; n++) {
        state = inner;
        SHA1_Transform(&state, block);
        copenssl_put_sha1(block, &state);
        state = outer;
        SHA1_Transform(&state, block);
        copenssl_put_sha1(block, &state);
        for (int i = 0; i < 20; i++) digest[i] ^= block[i];
    }
    OPENSSL_cleanse(pad, sizeof pad);
    OPENSSL_cleanse(block, sizeof block);
    return 1;
}

#pragma clang diagnostic pop

#endif
