/* An XMPP load generator over real TLS sockets, and an oracle for what it sends: every message has to arrive exactly
 * once, in order for each sender, unchanged, and every stream management count has to be right, or it stops loudly.
 *
 * One thread, epoll, OpenSSL. It shares no code with any server. One run is one mode against one running server; the
 * result is one JSON object on stdout. `run`, beside this file, drives it. See README.md for what the numbers mean.
 */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct options options = {
    .address = "127.0.0.1", .port = 5223, .domain = "bench.example", .password = "secret", .concurrency = 16,
    .warmup = 100, .pairs = 50, .window = 10, .senders = 10, .ack_every = 5, .sources = 200, .seconds = 5, .warmup_seconds = 2, .fill_seconds = 150,
    .settle = 2, .rate = 500, .timeout = 120, .counts = "1000"};

bool sending, recording;
static struct processes { int ids[64], count; } server, peer;
struct series arrivals, receipts;

double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

void fail(const struct connection *c, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "load: FAILED: ");
    vfprintf(stderr, format, arguments);
    if (c) fprintf(stderr, " [user %d, %s]", c->index, state_name(c));
    fprintf(stderr, "\n");
    ERR_print_errors_fp(stderr);
    exit(1);
}

void record(struct series *series, double seconds) {
    if (series->count == series->capacity) {
        series->capacity = series->capacity ? series->capacity * 2 : 65536;
        if (!(series->values = realloc(series->values, series->capacity * sizeof *series->values)))
            fail(NULL, "out of memory");
    }
    series->values[series->count++] = seconds;
}

/* --- What the server costs: CPU time and memory of all its processes. --- */

/* The process clock is the sum of utime and stime, but in nanoseconds: a tick of 10 ms is too coarse here. */
static double cpu_seconds(const struct processes *processes) {
    double sum = 0;
    for (int i = 0; i < processes->count; i++) {
        clockid_t clock;
        struct timespec t;
        if (clock_getcpuclockid(processes->ids[i], &clock) || clock_gettime(clock, &t))
            fail(NULL, "server process %d is gone", processes->ids[i]);
        sum += t.tv_sec + t.tv_nsec * 1e-9;
    }
    return sum;
}

struct snapshot snapshot(void) {
    struct snapshot s = {
        .wall = now(), .delivered = delivered, .server = cpu_seconds(&server), .peer = cpu_seconds(&peer)};
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    s.self = usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
    for (int i = 0; i < server.count; i++) {
        char path[64], line[1024];
        snprintf(path, sizeof path, "/proc/%d/stat", server.ids[i]);
        FILE *file = fopen(path, "r");
        if (!file || !fgets(line, sizeof line, file)) fail(NULL, "cannot read %s", path);
        fclose(file);
        unsigned long user = 0, system = 0;
        char *after_name = strrchr(line, ')');
        if (after_name) sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
        s.user += (double)user / sysconf(_SC_CLK_TCK);
        s.system += (double)system / sysconf(_SC_CLK_TCK);
    }
    return s;
}

void server_memory(long *rss, long *pss) {
    *rss = *pss = 0;
    for (int i = 0; i < server.count; i++) {
        char path[64], line[256];
        snprintf(path, sizeof path, "/proc/%d/smaps_rollup", server.ids[i]);
        FILE *file = fopen(path, "r");
        if (!file) fail(NULL, "cannot read %s", path);
        long kib;
        while (fgets(line, sizeof line, file)) {
            if (sscanf(line, "Rss: %ld", &kib) == 1) *rss += kib;
            if (sscanf(line, "Pss: %ld", &kib) == 1) *pss += kib;
        }
        fclose(file);
    }
}

/* --- Results. --- */

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_latency(const char *name, struct series *series) {
    static const struct { const char *name; double part; } cuts[] = {
        {"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}};
    qsort(series->values, series->count, sizeof *series->values, ascending);
    printf(", \"%s\": {", name);
    for (int i = 0; i < 4; i++) {
        size_t index = series->count ? (size_t)(cuts[i].part * (series->count - 1)) : 0;
        printf("%s\"%s\": %.3f", i ? ", " : "", cuts[i].name, series->count ? series->values[index] * 1e3 : 0);
    }
    printf("}");
    series->count = 0;
}

void print_costs(struct snapshot a, struct snapshot b, double count) {
    double wall = b.wall - a.wall, cpu = b.server - a.server;
    double split = (b.user - a.user) + (b.system - a.system);
    printf("\"count\": %.0f, \"seconds\": %.3f, \"per_second\": %.1f, \"server_cpu_seconds\": %.4f, "
           "\"server_cpu_us_each\": %.3f, \"server_system_share\": %.3f, \"server_cores_busy\": %.3f, "
           "\"generator_cores_busy\": %.3f", count, wall, count / wall, cpu,
           count ? cpu / count * 1e6 : 0, split > 0 ? (b.system - a.system) / split : 0, cpu / wall,
           (b.self - a.self) / wall);
    if (peer.count) printf(", \"peer_cpu_us_each\": %.3f", count ? (b.peer - a.peer) / count * 1e6 : 0);
    print_latency("latency_ms", &arrivals);
    if (receipts.count) print_latency("ack_latency_ms", &receipts);
}

static void login_mode(void) {
    long rss0, pss0, rss, pss;
    server_memory(&rss0, &pss0);
    log_in(options.warmup);
    printf("\"rss_before_kib\": %ld, \"pss_before_kib\": %ld, \"steps\": [", rss0, pss0);
    char *counts = strdup(options.counts), *saved = NULL;
    bool first = true;
    for (char *part = strtok_r(counts, ",", &saved); part; part = strtok_r(NULL, ",", &saved)) {
        int target = atoi(part), before = ready;
        recording = true;
        struct snapshot a = snapshot();
        log_in(target);
        struct snapshot b = snapshot();
        recording = false;
        run_for(options.settle);
        server_memory(&rss, &pss);
        printf("%s{\"connections\": %d, \"rss_kib\": %ld, \"pss_kib\": %ld, \"pss_kib_each\": %.2f, "
               "\"rss_kib_each\": %.2f, ", first ? "" : ", ", ready, rss, pss, (double)(pss - pss0) / ready,
               (double)(rss - rss0) / ready);
        first = false;
        print_costs(a, b, target - before);
        printf("}");
    }
    printf("]");
    free(counts);
}

/* How many messages are in the archives of all users together; the caller knows how many there have to be. */
static void count_mode(void) {
    int users = options.pairs * 2;
    log_in(users);
    for (int i = 0; i < users; i++) ask_archive(connections[i]);
    long archived = 0;
    for (int i = 0; i < users; archived += connections[i++]->archived)
        for (double end = now() + 60; connections[i]->archived < 0; turn(10))
            if (now() > end) fail(connections[i], "the archive gives no count");
    printf("\"archived\": %ld", archived);
}

/* Nothing may be missing after the last message, nothing may come twice, and the server's counts must be ours. */
static void verify(int users) {
    uint64_t missing;
    for (double end = now() + 20; ; turn(10)) {
        missing = 0;
        for (int i = 0; i < users; i++) missing += connections[i]->sent - connections[i ^ 1]->expected;
        if (!missing) break;
        if (now() > end) fail(NULL, "%llu messages never arrived", (unsigned long long)missing);
    }
    run_for(0.3);
    if (!options.sm) return;
    for (int i = 0; i < users; i++) say(connections[i], "<r xmlns='" SM "'/>");
    for (double end = now() + 10; ; turn(10)) {
        int behind = 0;
        for (int i = 0; i < users; i++) behind += connections[i]->acked != connections[i]->stanzas_out;
        if (!behind) return;
        if (now() > end)
            for (int i = 0; i < users; i++)
                if (connections[i]->acked != connections[i]->stanzas_out)
                    fail(connections[i], "%u stanzas sent, h='%u'", connections[i]->stanzas_out, connections[i]->acked);
    }
}

static void chat_mode(void) {
    int users = options.pairs * 2, timer = -1, turn_of = 0;
    double interval = 0, due = 0, lag = 0;
    /* Every other user, if those of odd numbers are silent. */
    int stride = options.one_way ? 2 : 1;
    log_in(users);
    run_for(0.5);
    sending = true;
    if (options.rate > 0) {
        interval = 1 / options.rate;
        struct itimerspec period = {.it_interval.tv_nsec = interval * 1e9, .it_value.tv_nsec = interval * 1e9};
        timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
        timerfd_settime(timer, 0, &period, NULL);
        struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
        epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
        due = now() + interval;
    } else {
        for (int i = 0; i < users; i += stride)
            for (int k = 0; k < options.window; k++) send_message(connections[i], now());
    }
    struct snapshot a = {0}, b;
    double begin = now() + options.warmup_seconds, end = begin + options.seconds;
    for (double time = now(); time < end; time = now()) {
        if (!recording && time >= begin) { recording = true; a = snapshot(); }
        for (; timer >= 0 && due <= time; due += interval) {
            if (recording && time - due > lag) lag = time - due;
            send_message(connections[turn_of % users], due);
            turn_of += stride;
        }
        turn(10);
        uint64_t expirations;  /* a periodic timer runs on only when it is read */
        if (timer >= 0 && read(timer, &expirations, sizeof expirations) < 0 && errno != EAGAIN)
            fail(NULL, "timer: %s", strerror(errno));
    }
    b = snapshot();
    recording = sending = false;
    print_costs(a, b, b.delivered - a.delivered);
    verify(users);
    printf(", \"verified_messages\": %llu, \"generator_lag_ms\": %.3f", (unsigned long long)delivered, lag * 1e3);
}

static void parse_address(char *text, const char **address, int *port) {
    char *colon = strrchr(text, ':');
    if (!colon) fail(NULL, "%s is not ADDRESS:PORT", text);
    *colon = 0;
    *address = text;
    *port = atoi(colon + 1);
}

static void parse_processes(char *text, struct processes *processes) {
    char *saved = NULL;
    for (char *pid = strtok_r(text, ",", &saved); pid && processes->count < 64; pid = strtok_r(NULL, ",", &saved))
        processes->ids[processes->count++] = atoi(pid);
}

static void parse_options(int argc, char **argv) {
    static const struct option longs[] = {
        {"connect", 1, 0, 'c'}, {"domain", 1, 0, 'd'}, {"password", 1, 0, 'p'}, {"ca", 1, 0, 'a'},
        {"starttls", 0, 0, 't'}, {"sm", 0, 0, 's'}, {"carbons", 0, 0, 'b'}, {"pids", 1, 0, 'i'}, {"keys", 1, 0, 'k'},
        {"mechanism", 1, 0, 'm'}, {"counts", 1, 0, 'n'}, {"concurrency", 1, 0, 'C'}, {"warmup", 1, 0, 'w'},
        {"pairs", 1, 0, 'P'}, {"window", 1, 0, 'W'}, {"ack-every", 1, 0, 'A'}, {"sources", 1, 0, 'S'},
        {"seconds", 1, 0, 'T'}, {"warmup-seconds", 1, 0, 'U'}, {"settle", 1, 0, 'e'}, {"rate", 1, 0, 'r'},
        {"timeout", 1, 0, 'x'}, {"senders", 1, 0, 'N'}, {"hang-up", 0, 0, 'H'}, {"first", 1, 0, 'f'},
        {"fill-seconds", 1, 0, 'F'}, {"peer-connect", 1, 0, 'o'}, {"peer-domain", 1, 0, 'D'},
        {"peer-pids", 1, 0, 'I'}, {"one-way", 0, 0, '1'}, {0}};
    options.mode = argc > 1 ? argv[1] : "";
    options.rate = strcmp(options.mode, "paced") ? 0 : 500;
    for (int o; (o = getopt_long(argc - 1, argv + 1, "", longs, NULL)) != -1;) switch (o) {
        case 'c': parse_address(optarg, &options.address, &options.port); break;
        case 'o': parse_address(optarg, &options.peer_address, &options.peer_port); break;
        case 'D': options.peer_domain = optarg; break;
        case '1': options.one_way = true; break;
        case 'd': options.domain = optarg; break;
        case 'p': options.password = optarg; break;
        case 'a': options.ca = optarg; break;
        case 't': options.starttls = true; break;
        case 's': options.sm = true; break;
        case 'b': options.carbons = true; break;
        case 'i': parse_processes(optarg, &server); break;
        case 'I': parse_processes(optarg, &peer); break;
        case 'k': options.key_file = optarg; break;
        case 'm': options.mechanism = optarg; break;
        case 'n': options.counts = optarg; break;
        case 'C': options.concurrency = atoi(optarg); break;
        case 'w': options.warmup = atoi(optarg); break;
        case 'P': options.pairs = atoi(optarg); break;
        case 'W': options.window = atoi(optarg); break;
        case 'A': options.ack_every = atoi(optarg); break;
        case 'S': options.sources = atoi(optarg); break;
        case 'T': options.seconds = atof(optarg); break;
        case 'U': options.warmup_seconds = atof(optarg); break;
        case 'e': options.settle = atof(optarg); break;
        case 'r': options.rate = atof(optarg); break;
        case 'x': options.timeout = atof(optarg); break;
        case 'f': options.first = atoi(optarg); break;
        case 'H': options.hang_up = true; break;
        case 'N': options.senders = atoi(optarg); break;
        case 'F': options.fill_seconds = atof(optarg); break;
        default: exit(2);
    }
    static const char *const modes[] = {"login", "chat", "paced", "count", "muc", "make-rooms", "ask-rooms"};
    bool is_known = false;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) is_known |= !strcmp(options.mode, modes[i]);
    if (!is_known) {
        fprintf(stderr, "usage: load login|chat|paced|count|muc|make-rooms|ask-rooms --connect ADDRESS:PORT "
                "--pids PID,... [option...]\n");
        exit(2);
    }
    if (options.window < 1 || options.window > RING || options.ack_every < 1 || options.sources < 1
        || options.concurrency < 1 || options.pairs < 1 || !options.peer_address != !options.peer_domain)
        fail(NULL, "an option is out of bounds");
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    prepare();
    bool in_order = true;
    printf("{");
    if (!strcmp(options.mode, "login")) login_mode();
    else if (!strcmp(options.mode, "count")) count_mode();
    else if (!strcmp(options.mode, "muc")) in_order = muc_mode();
    else if (strstr(options.mode, "-rooms")) rooms_mode(*options.mode == 'm');
    else chat_mode();
    if (in_order) log_out();
    printf(", \"sm\": %s, \"carbons\": %s, \"mechanism\": \"%s\", \"iterations\": %d}\n",
           options.sm ? "true" : "false", options.carbons ? "true" : "false", mechanism_seen, iterations_seen);
    return 0;
}
