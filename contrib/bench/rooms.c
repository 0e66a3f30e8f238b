/* Many rooms with nobody in them: makes them, persistent and with affiliations, or asks each what it is. */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBERS 19  /* beside the owner */
#define ASKED 16    /* requests of one client on their way */

static int rooms, clients, done, next[1024];  /* next: the room that a client turns to next */

static void address(char *out, size_t capacity, int room) {
    snprintf(out, capacity, "r%d@conference.%s", room, options.domain);
}

/* --- Making: enter (XEP-0045 §10.1), say how it is to be, name the members (§9.5), leave; one room after the other. --- */

static int step[1024];

static void make_next(struct connection *c) {
    if (next[c->index] >= options.first + rooms) return;
    char room[96];
    address(room, sizeof room, next[c->index]);
    step[c->index] = 0;
    say(c, "<presence to='%s/owner'><x xmlns='http://jabber.org/protocol/muc'/></presence>", room);
}

static void made_presence(struct connection *c, const char *stanza) {
    char type[16] = "", room[96];
    attribute(stanza, "type", type, sizeof type);
    if (!strcmp(type, "error")) fail(c, "a room refused: %s", stanza);
    if (!strstr(stanza, "110")) return;
    address(room, sizeof room, next[c->index]);
    if (!strstr(stanza, room)) return;
    if (!strcmp(type, "unavailable")) {
        done++;
        next[c->index] += clients;
        return make_next(c);
    }
    if (step[c->index]++) return;
    say(c, "<iq type='set' id='room' to='%s'><query xmlns='http://jabber.org/protocol/muc#owner'>"
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>"
        "<value>http://jabber.org/protocol/muc#roomconfig</value></field>"
        "<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>", room);
}

static void made_answer(struct connection *c) {
    char room[96], members[1536];
    address(room, sizeof room, next[c->index]);
    if (step[c->index]++ > 1) {
        say(c, "<presence type='unavailable' to='%s/owner'/>", room);
        return;
    }
    size_t length = 0;
    for (int i = 0; i < MEMBERS; i++)
        length += snprintf(members + length, sizeof members - length, "<item affiliation='member' jid='m%d@%s'/>",
                           next[c->index] * MEMBERS + i, options.domain);
    say(c, "<iq type='set' id='room' to='%s'><query xmlns='http://jabber.org/protocol/muc#admin'>%s</query></iq>", room,
        members);
}

/* --- Asking: what loads a room that is not in memory. --- */

static int limit;

static void ask_next(struct connection *c) {
    if (next[c->index] >= limit) return;
    char room[96];
    address(room, sizeof room, next[c->index]);
    next[c->index] += clients;
    say(c, "<iq type='get' id='room' to='%s'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>", room);
}

static void asked_answer(struct connection *c) {
    done++;
    ask_next(c);
}

static void ask_until(int count) {
    limit = options.first + count;
    for (int i = 0; i < clients; i++)
        for (int k = 0; k < ASKED; k++) ask_next(connections[i]);
    while (done < count) turn(10);
}

void rooms_mode(bool makes) {
    rooms = atoi(options.counts);
    clients = options.senders;
    if (clients < 1 || clients > 1024 || rooms < clients) fail(NULL, "an option is out of bounds");
    log_in(clients);
    for (int i = 0; i < clients; i++) next[i] = options.first + i;
    on_room_presence = makes ? made_presence : NULL;
    on_room_answer = makes ? made_answer : asked_answer;
    run_for(0.5);
    long rss0, pss0, rss, pss;
    /* The first rooms cost what the server then has for all: code that runs for the first time, caches. */
    int warmup = makes ? 0 : rooms / 20;
    if (warmup) ask_until(warmup);
    server_memory(&rss0, &pss0);
    struct snapshot before = snapshot();
    if (!makes) ask_until(rooms);
    for (int i = 0; makes && i < clients; i++) make_next(connections[i]);
    while (done < rooms) turn(10);
    struct snapshot after = snapshot();
    server_memory(&rss, &pss);
    printf("\"rooms\": %d, \"rss_kib\": %ld, \"pss_kib\": %ld, \"pss_kib_each\": %.3f, ", rooms, rss, pss,
           (double)(pss - pss0) / (rooms - warmup));
    print_costs(before, after, rooms - warmup);
}
