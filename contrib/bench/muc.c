/* Group chat (XEP-0045): a room that fills up, talks, empties and is entered by everybody at once.
 *
 * What has to be true, or the run ends: every occupant learns of every other exactly once (§7.1), of all who were there
 * before its own presence, which has status 110; hears every message exactly once, unchanged, under the sender's nick and
 * in the same order as all the others, the sender too (§7.4); and sees each leave once (§7.14).
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORDER 4096  /* messages the room may be ahead of its slowest occupant */

/* A message in the order in which the room sent it, which is the order in which the first occupant heard it. */
struct entry { int sender, missing; double due; char id[48], body[160]; };

struct occupant {
    int known, rank, subjects;  /* rank: how many it knew of, itself included, when it was in */
    uint64_t sent, spoken, heard;  /* own messages sent, and in the order so far; messages of the room heard */
    double asked;  /* when it sent its join */
    bool *seen;    /* for each nick, whether it is known to be in the room */
};

static struct occupant *occupants;
static struct entry order[ORDER];
static uint64_t ordered, on_their_way, presences;
static int size, inside, answered;
static char room[96];
static size_t room_length;

static void join(int index) {
    struct occupant *o = &occupants[index];
    o->asked = now();
    say(connections[index], "<presence to='%s/n%d'><x xmlns='http://jabber.org/protocol/muc'>"
        "<history maxstanzas='0'/></x></presence>", room, index);
}

/* The nick of an occupant's address, as the number of its user; -1 for the room itself and for other rooms. */
static int nick(const struct connection *c, const char *from) {
    if (strncmp(from, room, room_length)) fail(c, "a stanza from %s, which is not the room", from);
    if (!from[room_length]) return -1;
    char *end;
    long index = strncmp(from + room_length, "/n", 2) ? -1 : strtol(from + room_length + 2, &end, 10);
    if (index < 0 || index >= size || *end) fail(c, "a stanza from %s: nobody has that nick", from);
    return index;
}

static void heard_presence(struct connection *c, const char *stanza) {
    char from[160] = "", type[16] = "";
    if (!attribute(stanza, "from", from, sizeof from) || !strncmp(from, c->jid, strlen(c->jid))) return;
    attribute(stanza, "type", type, sizeof type);
    if (!strcmp(type, "error")) fail(c, "the room refused: %s", stanza);
    struct occupant *o = &occupants[c->index];
    int who = nick(c, from);
    if (who < 0) return;  /* the room's own presence has an avatar, if anything */
    bool is_self = who == c->index;
    if (is_self && !strstr(stanza, "110")) fail(c, "own presence without status 110: %s", stanza);
    presences++;
    if (!*type) {
        if (o->seen[who]) fail(c, "the presence of n%d came twice: %s", who, stanza);
        o->seen[who] = true;
        o->known++;
        if (!is_self) return;
        o->rank = o->known;
        inside++;
        if (recording) record(&arrivals, now() - o->asked);
    } else if (!strcmp(type, "unavailable")) {
        if (!o->seen[who]) fail(c, "n%d left without having been there: %s", who, stanza);
        o->seen[who] = false;
        o->known--;
        if (!is_self) return;
        o->known = o->subjects = 0;
        memset(o->seen, 0, size * sizeof *o->seen);
        inside--;
    } else fail(c, "a presence of type %s: %s", type, stanza);
}

static void heard_answer(struct connection *c) { (void)c; answered++; }

static void speak(int index) {
    struct occupant *o = &occupants[index];
    char id[48];
    message_id(id, sizeof id, index, o->sent);
    say(connections[index], "<message to='%s' id='%s' type='groupchat'><body>%d/%llu: Grüße &amp; see you at the usual "
        "place</body><active xmlns='http://jabber.org/protocol/chatstates'/><origin-id xmlns='urn:xmpp:sid:0' id='%s'/>"
        "</message>", room, id, index, (unsigned long long)o->sent, id);
    connections[index]->stamps[o->sent++ % RING] = now();
    on_their_way++;
}

/* The next message in the room's order: it has to be the next of its sender. */
static struct entry *next_entry(struct connection *c, int sender) {
    struct occupant *o = &occupants[sender];
    struct entry *entry = &order[ordered++ % ORDER];
    if (entry->missing) fail(c, "the room is %d messages ahead of an occupant", ORDER);
    entry->sender = sender;
    entry->missing = inside;
    entry->due = connections[sender]->stamps[o->spoken % RING];
    message_id(entry->id, sizeof entry->id, sender, o->spoken);
    snprintf(entry->body, sizeof entry->body, "<body>%d/%llu: Grüße &amp; see you at the usual place</body>", sender,
             (unsigned long long)o->spoken++);
    return entry;
}

static void heard_message(
    struct connection *c, const char *stanza, const char *id, const char *from, bool is_ours) {
    struct occupant *o = &occupants[c->index];
    int sender = nick(c, from);
    if (!is_ours) {
        if (strstr(stanza, "<subject")) o->subjects++;
        return;
    }
    if (sender < 0) fail(c, "a message of an occupant under the room's name: %s", stanza);
    struct entry *entry = o->heard == ordered ? next_entry(c, sender) : &order[o->heard % ORDER];
    if (strcmp(id, entry->id))
        fail(c, "message lost, doubled or out of order: expected id %s, got %s", entry->id, stanza);
    const char *origin = strstr(stanza, "<origin-id");
    if (sender != entry->sender || !strstr(stanza, entry->body) || !strstr(stanza, "<active ") || !origin
        || !strstr(origin, entry->id)) fail(c, "message changed on its way, sender n%d: %s", entry->sender, stanza);
    o->heard++;
    delivered++;
    if (recording) record(&arrivals, now() - entry->due);
    if (--entry->missing) return;
    on_their_way--;
    if (sending) speak(sender);
}

/* --- The phases. Each prints one object of the result. --- */

/* Turns the loop until `presences` has come so far, for at most so many seconds; whether it has. */
static bool until(uint64_t wanted, double seconds) {
    for (double end = now() + seconds; presences < wanted; turn(10))
        if (now() > end) return false;
    return true;
}

/* Nothing more may come, everybody knows of everybody, and has heard the subject that ends a join (§7.2.15). */
static void settle(void) {
    run_for(0.3);
    for (int i = 0; i < size; i++) {
        struct occupant *o = &occupants[i];
        if (o->known && o->known != inside) fail(connections[i], "knows of %d of %d occupants", o->known, inside);
        if (o->known && o->subjects != 1) fail(connections[i], "heard the subject %d times after its join", o->subjects);
    }
}

static void print_phase(const char *name, struct snapshot before, struct snapshot after, uint64_t count) {
    printf(", \"%s\": {\"in\": %d, ", name, inside);
    print_costs(before, after, count);
    printf("}");
}

/* The first occupant makes the room, instantly (§10.1.2); each further one joins when the one before is in. */
static void fill(void) {
    double end = now() + options.fill_seconds;
    struct snapshot before = snapshot();
    recording = true;
    join(0);
    while (!inside) turn(10);
    say(connections[0], "<iq type='set' id='room' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>"
        "<x xmlns='jabber:x:data' type='submit'/></query></iq>", room);
    while (!answered) turn(10);
    int asked = 1;
    while (inside < size && now() < end) {
        if (inside == asked) join(asked++);
        turn(10);
    }
    while (inside < asked) turn(10);
    uint64_t wanted = (uint64_t)inside * inside;
    if (!until(wanted, 60)) fail(NULL, "%llu presences of %llu came", (unsigned long long)presences,
                                 (unsigned long long)wanted);
    recording = false;
    print_phase("fill", before, snapshot(), presences);
    settle();
    for (int i = 0; i < inside; i++)
        if (occupants[i].rank != i + 1) fail(connections[i], "was in after %d presences", occupants[i].rank);
}

/* Some occupants talk; each message on its way is followed by the next when every occupant has it. */
static void talk(const char *name, int senders, int window) {
    if (senders > inside) senders = inside;
    sending = true;
    for (int k = 0; k < window; k++)
        for (int i = 0; i < senders; i++) speak(i * (inside / senders));
    run_for(options.warmup_seconds);
    struct snapshot before = snapshot();
    recording = true;
    run_for(options.seconds);
    struct snapshot after = snapshot();
    recording = sending = false;
    print_phase(name, before, after, after.delivered - before.delivered);
    for (double end = now() + 60; on_their_way; turn(10))
        if (now() > end) fail(NULL, "%llu messages did not reach everybody", (unsigned long long)on_their_way);
    run_for(0.3);
    for (int i = 0; i < inside; i++)
        if (occupants[i].heard != ordered) fail(connections[i], "heard %llu messages of %llu",
            (unsigned long long)occupants[i].heard, (unsigned long long)ordered);
}

/* Everybody leaves but the owner. */
static void empty(void) {
    uint64_t leavers = inside - 1, wanted = presences + leavers + leavers * (leavers + 1) / 2, start = presences;
    struct snapshot before = snapshot();
    for (int i = 1, count = inside; i < count; i++)
        say(connections[i], "<presence type='unavailable' to='%s/n%d'/>", room, i);
    if (!until(wanted, options.fill_seconds)) fail(NULL, "%d are still in the room", inside - 1);
    print_phase("leave", before, snapshot(), presences - start);
    settle();
}

/* All join at once; whether they got in. */
static bool rush(int joiners) {
    uint64_t start = presences, wanted = start + (uint64_t)joiners * (joiners + 2);
    struct snapshot before = snapshot();
    recording = true;
    for (int i = 1; i <= joiners; i++) join(i);
    bool complete = until(wanted, options.fill_seconds);
    recording = false;
    print_phase("rush", before, snapshot(), presences - start);
    if (!complete) return false;
    settle();
    bool *ranks = calloc(size + 2, sizeof *ranks);
    for (int i = 1; i <= joiners; i++) {
        int rank = occupants[i].rank;
        if (rank < 2 || rank > joiners + 1 || ranks[rank])
            fail(connections[i], "was in after %d presences, as somebody else was", rank);
        ranks[rank] = true;
    }
    free(ranks);
    return true;
}

bool muc_mode(void) {
    size = atoi(options.counts);
    if (size < 2 || options.senders < 1 || options.senders * options.window > RING)
        fail(NULL, "a room needs two occupants, and at most %d messages on their way", RING);
    char run[48];
    message_id(run, sizeof run, 0, 0);
    room_length = snprintf(room, sizeof room, "room-%.8s@conference.%s", run, options.domain);
    log_in(size);
    on_room_presence = heard_presence;
    on_room_message = heard_message;
    on_room_answer = heard_answer;
    occupants = calloc(size, sizeof *occupants);
    for (int i = 0; i < size; i++) occupants[i].seen = calloc(size, sizeof *occupants[i].seen);
    run_for(0.5);
    long rss0, pss0, rss, pss;
    server_memory(&rss0, &pss0);
    printf("\"size\": %d", size);
    fill();
    int filled = inside;
    run_for(options.settle);
    server_memory(&rss, &pss);
    printf(", \"pss_kib_each\": %.2f", (double)(pss - pss0) / inside);
    talk("crowd", options.senders, options.window);
    talk("single", 1, 1);
    empty();
    bool complete = rush(filled - 1);
    printf(", \"verified_messages\": %llu, \"complete\": %s", (unsigned long long)delivered,
           complete ? "true" : "false");
    return complete && !options.hang_up;
}
