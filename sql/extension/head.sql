-- rolecall: the install script, put together from sql/extension/ in the order the Makefile gives.
\echo Use "CREATE EXTENSION rolecall" to load this file. \quit

