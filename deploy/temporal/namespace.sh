#!/bin/sh
# Makes Holdfast's namespace and its search attributes: the commands that a worker prints when they are missing. It may run at
# every start. What is there already is left alone, also an attribute of a wrong type: the worker then says how to mend it.
#
# TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE say where.
set -eu

# The frontend listens a moment before it serves.
tries=60
until temporal operator cluster health >/dev/null 2>&1; do
	tries=$((tries - 1))
	[ "$tries" -gt 0 ] || { echo "Temporal at $TEMPORAL_ADDRESS does not answer" >&2; exit 1; }
	sleep 1
done

temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1 ||
	temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 720h --description Holdfast

# A new namespace is seen by the whole server within ten seconds; until then it is said not to exist.
attribute() { # attribute NAME TYPE
	tries=30
	until temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" --name "$1" --type "$2"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || exit 1
		sleep 1
	done
}

attribute HoldfastTenant Keyword
attribute HoldfastApp Keyword
attribute HoldfastStage Keyword
attribute HoldfastAwaiting KeywordList
attribute HoldfastOutcome Keyword
echo "The namespace $TEMPORAL_NAMESPACE is ready."
